import pytest
from pydantic import ValidationError

from models.checkpoint import CheckpointError
from serve.lesion.config import LesionConfig
from serve.lesion.verdict import LesionThresholds
from tests.random_checkpoints import random_meta


def test_thresholds_are_those_of_the_settings_else_of_the_checkpoint():
    two = random_meta("lesion", thresholds={"malignant": 0.6, "benign": 0.2, "name_diagnosis": 0.1})
    one = random_meta("lesion", thresholds={"malignant": 0.6, "name_diagnosis": 0.1})
    other = random_meta("lesion", name="other", thresholds=two.thresholds)
    config = LesionConfig.model_validate({"thresholds": {two.name: {"benign": 0.1, "malignant": 0.9}}})

    assert LesionConfig().thresholds_of(two) == LesionThresholds(benign=0.2, malignant=0.6)
    assert LesionConfig().thresholds_of(one) == LesionThresholds(benign=0.6, malignant=0.6)
    assert config.thresholds_of(two) == LesionThresholds(benign=0.1, malignant=0.9)
    assert config.thresholds_of(other) == LesionThresholds(benign=0.2, malignant=0.6)


def test_settings_of_earlier_versions_are_rejected_with_the_line_to_write():
    with pytest.raises(ValidationError, match=r"write checkpoints: \[weights/mine\]"):
        LesionConfig.model_validate({"checkpoint": "weights/mine"})
    with pytest.raises(ValidationError, match="by name of the model"):
        LesionConfig.model_validate({"thresholds": {"benign": 0.1, "malignant": 0.9}})


@pytest.mark.parametrize(
    "thresholds", [{"benign": 0.9, "malignant": 0.1}, {"benign": 0.1}, {"benign": 0.1, "malignant": 2}]
)
def test_impossible_thresholds_are_rejected(thresholds: dict[str, float]):
    with pytest.raises(ValidationError, match="thresholds"):
        LesionConfig.model_validate({"thresholds": {"lesion-random": thresholds}})


def test_a_checkpoint_without_a_threshold_is_rejected():
    with pytest.raises(CheckpointError, match="no threshold 'malignant'"):
        LesionConfig().thresholds_of(random_meta("lesion", thresholds={"name_diagnosis": 0.1}))
