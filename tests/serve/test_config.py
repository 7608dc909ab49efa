from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from ray.serve.schema import ServeDeploySchema

from serve.__main__ import COMPOSED_YAML, LOCAL_YAML
from serve.config import GatewayConfig
from serve.lesion.config import LesionConfig
from serve.lesion.schemas import LesionAnswer
from serve.progress.config import ProgressConfig
from serve.progress.schemas import PredictAnswer, ProgressAnswer
from serve.runtime.server_process import num_cpus
from serve.tasks import read_config
from ui.config import UiConfig

ONE_MACHINE = pytest.mark.parametrize("file", [LOCAL_YAML, COMPOSED_YAML], ids=lambda file: file.name)


def read(file: Path) -> dict[str, Any]:
    return yaml.safe_load(file.read_text(encoding="utf-8"))


@ONE_MACHINE
def test_the_configs_of_one_machine_are_valid_serve_configs_with_valid_settings(file: Path):
    ServeDeploySchema.model_validate(read(file))
    api, ui = read(file)["applications"]

    assert read_config(api["args"]).model_dump()["lesion"]["checkpoints"] == (
        "weights/lesion",
        "weights/lesion-small",
    )
    assert UiConfig.model_validate(ui["args"]).api_url == "http://127.0.0.1:8000"


@ONE_MACHINE
def test_the_configs_of_one_machine_fit_two_cores(file: Path):
    assert num_cpus(read(file)) == 2


def test_local_and_composed_yaml_differ_only_in_the_gateway_setting_and_deployments():
    local, composed = read(LOCAL_YAML), read(COMPOSED_YAML)
    assert local["applications"][0]["args"]["gateway"].pop("networks_in_gateway") is True
    names = [
        [one["name"] for one in config["applications"][0].pop("deployments")] for config in (local, composed)
    ]

    assert local == composed
    assert names == [["Gateway"], ["Gateway", "LesionClassifier", "FaceDetector", "ProgressClassifier"]]


@pytest.mark.parametrize(
    "wrong",
    [{"lesion": {"max_batchsize": 3}}, {"more": 1}, {"progress": {"face_detector": {"num_threads": 0}}}],
)
def test_unknown_names_and_values_out_of_range_are_rejected(wrong: dict[str, Any]):
    with pytest.raises(ValidationError):
        read_config(wrong)


def test_settings_are_immutable():
    with pytest.raises(ValidationError, match="frozen"):
        GatewayConfig().max_requests = 3  # pyright: ignore[reportAttributeAccessIssue]


def test_limits_follow_the_batch_size_unless_set():
    default, large = LesionConfig(), LesionConfig(max_batch_size=64)
    explicit = LesionConfig(max_batch_size=64, max_photos_per_gateway=5)

    assert (default.max_photos_per_gateway, default.max_photos_per_replica) == (16, 24)
    assert (large.max_photos_per_gateway, large.max_photos_per_replica) == (128, 192)
    assert (large.batch_concurrency, large.coalesce_above) == (64, 64)
    assert (explicit.max_photos_per_gateway, explicit.batch_concurrency) == (5, 64)


def test_photos_of_series_fill_two_series_or_two_batches():
    large = ProgressConfig.model_validate({"face_detector": {"max_batch_size": 32}})

    assert (ProgressConfig().max_photos_per_gateway, large.max_photos_per_gateway) == (60, 64)


def test_the_disclaimer_is_in_every_response():
    for answer in (LesionAnswer, ProgressAnswer, PredictAnswer):
        assert "not a medical device" in answer.model_fields["disclaimer"].default


@pytest.mark.parametrize(
    "origins", [[], ["*"], ["https://clinic.example", "http://localhost:3000", "http://[::1]:8080"]]
)
def test_origins_are_accepted(origins: list[str]):
    assert GatewayConfig.model_validate({"allowed_origins": origins}).allowed_origins == tuple(origins)


@pytest.mark.parametrize(
    "origin",
    "clinic.example https://clinic.example/ https://clinic.example/app https://Clinic.example null ftp://a "
    "https://user@clinic.example https://clinic.example:443 http://a:80".split(),
)
def test_an_address_that_browsers_never_send_as_origin_is_rejected(origin: str):
    with pytest.raises(ValidationError, match="is no origin; write scheme and host"):
        GatewayConfig.model_validate({"allowed_origins": [origin]})


def test_all_origins_exclude_others():
    with pytest.raises(ValidationError, match="leave out the others"):
        GatewayConfig.model_validate({"allowed_origins": ["*", "https://clinic.example"]})
