"""Calls of Ray Serve's own client, which is undocumented; tried with Ray 2.60.

Only benchmarks and test clusters call them, to deploy a config as ``serve deploy`` does, which needs the
dashboard. ``python -m serve`` uses ``serve.runtime.applications``. A test fails when the client changes.
"""

from typing import Any

from ray.serve.schema import ServeDeploySchema


def deploy_config(config: ServeDeploySchema) -> None:
    """Deploy all applications of a Serve config; return before they run."""
    _client().deploy_apps(config)


def application_details() -> dict[str, Any]:
    """Return state, deployments and replicas of each application, with the node of each replica."""
    return _client().get_serve_details()["applications"]


def _client() -> Any:
    from ray.serve.context import _get_global_client  # here, so that a changed name fails in the test

    return _get_global_client(raise_if_no_controller_running=True)
