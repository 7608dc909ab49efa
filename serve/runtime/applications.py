"""Build the applications of a Serve config in this process, for ``python -m serve``.

``serve deploy`` imports each application in a process of its own
(docs/decisions/0046-networks-in-the-gateway.md). Serve's builder does not accept the section ``deployments``.
Hence ``build_app_with_options(arguments, options)`` of the module in ``import_path`` is called. The function
that ``import_path`` names is called by ``serve deploy`` only.
"""

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

from ray.serve import Deployment, RunTarget
from ray.serve.schema import ServeApplicationSchema, ServeDeploySchema

DeploymentOptions = Mapping[str, Mapping[str, Any]]
"""Arguments of ``Deployment.options`` by the name of the deployment."""
_KNOWN_FIELDS = {"name", "route_prefix", "import_path", "args", "deployments", "logging_config"}


def run_targets(schema: ServeDeploySchema) -> list[RunTarget]:
    """Return the applications of a config for ``ray.serve.run_many``.

    Raises:
        CheckpointError: a checkpoint is missing or invalid.
        ValidationError: an argument of an application is wrong.
        ValueError: an application or deployment is unknown, or a field is supported by ``serve deploy`` only.
    """
    return [
        RunTarget(
            target=_build(one),
            name=one.name,
            route_prefix=one.route_prefix,
            logging_config=one.logging_config or schema.logging_config,
        )
        for one in schema.applications
    ]


def check_names(options: DeploymentOptions, deployments: Iterable[Deployment]) -> None:
    """Raise ValueError if options name a deployment that the application does not have."""
    names = {one.name for one in deployments}
    if unknown := sorted(options.keys() - names):
        raise ValueError(
            f"the config has options of the deployment {unknown[0]}, which this application does not start; "
            f"remove them (it starts {', '.join(sorted(names))}), or check gateway.networks_in_gateway"
        )


def _build(application: ServeApplicationSchema) -> Any:
    try:
        module = import_module(application.import_path.partition(":")[0])
    except ImportError as error:
        raise ValueError(
            f"application {application.name}: {application.import_path} cannot be imported ({error}); "
            "correct import_path"
        ) from error
    if not hasattr(module, "build_app_with_options"):
        raise ValueError(
            f"application {application.name}: the module of {application.import_path} has no function "
            "build_app_with_options; add one as in serve/app.py, or deploy the config with serve deploy"
        )
    if more := sorted(application.model_fields_set - _KNOWN_FIELDS):
        raise ValueError(
            f"application {application.name} has the field {more[0]}, which serve deploy supports and "
            "python -m serve does not; leave it out"
        )
    options = {
        one.name: one.model_dump(exclude_unset=True, exclude={"name"}) for one in application.deployments
    }
    return module.build_app_with_options(application.args, options)
