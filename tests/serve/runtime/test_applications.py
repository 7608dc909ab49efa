from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.serve import Application
from ray.serve.schema import ServeDeploySchema

from serve.__main__ import COMPOSED_YAML, LOCAL_YAML
from serve.runtime.applications import run_targets
from tests.random_checkpoints import write_lesion, write_progress


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return {
        "lesion": str(write_lesion(folder / "lesion")),
        "progress": str(write_progress(folder / "progress")),
    }


def config_of(file: Path, checkpoints: dict[str, str]) -> dict[str, Any]:
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    for name, folder in checkpoints.items():
        config["applications"][0]["args"][name]["checkpoints"] = [folder]
    config["applications"][0]["args"]["progress"]["face_detector"]["descriptor"] = None
    return config


def targets_of(config: dict[str, Any]) -> list[Any]:
    return run_targets(ServeDeploySchema.model_validate(config))


def deployments_of(target: Any) -> dict[str, Any]:
    """Return the deployments of an application by name."""
    bound = target.target._bound_deployment
    networks = bound.init_args[2].values() if len(bound.init_args) > 2 else ()
    inner = [one._bound_deployment for one in networks if isinstance(one, Application)]
    return {one.name: one for one in (bound, *inner)}


@pytest.mark.parametrize("file", [LOCAL_YAML, COMPOSED_YAML], ids=lambda file: file.name)
def test_deployments_have_the_options_of_the_config(file: Path, checkpoints: dict[str, str]):
    config = config_of(file, checkpoints)
    for number, deployment in enumerate(config["applications"][0]["deployments"], start=1):
        deployment["num_replicas"] = number

    api, page = targets_of(config)

    assert [(one.name, one.route_prefix) for one in (api, page)] == [("api", "/"), ("ui", "/ui")]
    assert api.logging_config.log_level == page.logging_config.log_level == "WARNING"
    wanted = {one["name"]: one for one in config["applications"][0]["deployments"]}
    found = deployments_of(api)
    assert found.keys() == wanted.keys()
    for name, options in wanted.items():
        assert found[name].num_replicas == options["num_replicas"]
        assert found[name].ray_actor_options["num_cpus"] == options["ray_actor_options"]["num_cpus"]
    assert found["Gateway"].max_ongoing_requests == 1000, "options that the config does not name stay"
    assert deployments_of(page).keys() == {"Page"}


def test_a_deployment_that_the_application_does_not_start_is_rejected(checkpoints: dict[str, str]):
    config = config_of(LOCAL_YAML, checkpoints)
    config["applications"][0]["deployments"].append({"name": "LesionClassifier"})

    with pytest.raises(
        ValueError,
        match=r"deployment LesionClassifier, which .* not start; remove them \(it starts Gateway\)",
    ):
        targets_of(config)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"import_path": "nowhere.app:build_app"}, "nowhere.app:build_app cannot be imported"),
        ({"import_path": "json:dumps"}, "the module of json:dumps has no function build_app_with_options"),
        ({"runtime_env": {"env_vars": {"A": "1"}}}, "field runtime_env, which serve deploy supports"),
        ({"args": {"lesion": {"colour": 1}}}, "colour"),
    ],
)
def test_unsupported_fields_and_wrong_settings_are_rejected(
    checkpoints: dict[str, str], change: dict[str, Any], match: str
):
    config = config_of(LOCAL_YAML, checkpoints)
    config["applications"][0] |= change

    with pytest.raises(ValueError, match=match):
        targets_of(config)
