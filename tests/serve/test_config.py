from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError
from ray.serve.schema import ServeDeploySchema

from serve.config import ApiConfig, GatewayConfig
from serve.runtime.server_process import num_cpus
from serve.schemas import LesionAnswer, PredictAnswer, ProgressAnswer
from ui.config import UiConfig

LOCAL = Path(__file__).parents[2] / "serve" / "local.yaml"


def local() -> dict:
    return yaml.safe_load(LOCAL.read_text(encoding="utf-8"))


def test_local_yaml_is_a_serve_config_whose_args_we_understand():
    ServeDeploySchema.model_validate(local())
    api, ui = local()["applications"]

    assert ApiConfig.model_validate(api["args"]).lesion.checkpoint == "weights/lesion"
    assert UiConfig.model_validate(ui["args"]).api_url == "http://127.0.0.1:8000"


def test_local_yaml_fits_two_cores():
    assert num_cpus(local()) == 2


@pytest.mark.parametrize(
    "wrong", [{"lesion": {"max_batchsize": 3}}, {"more": 1}, {"face": {"num_threads": 0}}]
)
def test_unknown_names_and_nonsense_are_refused(wrong: dict):
    with pytest.raises(ValidationError):
        ApiConfig.model_validate(wrong)


def test_settings_do_not_change():
    with pytest.raises(ValidationError, match="frozen"):
        GatewayConfig().max_requests = 3  # pyright: ignore[reportAttributeAccessIssue]


def test_the_disclaimer_is_in_every_answer():
    for answer in (LesionAnswer, ProgressAnswer, PredictAnswer):
        assert "not a medical device" in answer.model_fields["disclaimer"].default
