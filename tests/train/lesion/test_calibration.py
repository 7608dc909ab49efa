from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from models.lesion.network import LesionEnsemble, LesionNet
from train.lesion.calibration import (
    Calibration,
    LabelledLogits,
    assign_folds,
    calibration_metrics,
    fit_calibration,
    fit_platt,
    fit_temperature,
    fold_in,
    threshold_for_sensitivity,
)


def random_logits(num: int, *, seed: int = 0) -> LabelledLogits:
    """Logits calibrated by temperature 0.5 of the diagnosis, 2 of the risk and a shift of -1."""
    random = np.random.default_rng(seed)
    logits_BK = random.normal(0, 2, (num, 3))
    truth_B = (logits_BK + random.gumbel(size=logits_BK.shape)).argmax(1)
    margin_B = random.normal(-1, 2, num)
    malignant_B = (random.random(num) < 1 / (1 + np.exp(-margin_B))).astype(int)
    return LabelledLogits(
        risk_BR=np.stack([np.zeros(num), 2 * (margin_B + 1)], axis=1),
        diagnosis_BK=logits_BK * 0.5,
        malignant_B=malignant_B,
        truth_B=truth_B,
        group_B=[str(index // 2) for index in range(num)],
    )


def test_fit_temperature_recovers_the_temperature():
    logits = random_logits(4000)

    assert fit_temperature(logits.diagnosis_BK, logits.truth_B) == pytest.approx(0.5, rel=0.08)


def test_fit_platt_recovers_temperature_and_shift_of_the_risk():
    logits = random_logits(4000)

    temperature, shift = fit_platt(logits.risk_BR, logits.malignant_B)

    assert temperature == pytest.approx(2, rel=0.1)
    assert shift == pytest.approx(-1, abs=0.12)


def test_calibration_lowers_the_cross_fitted_errors():
    logits = random_logits(1500)

    metrics = calibration_metrics(logits, fit_calibration(logits))

    for before, after in (
        (metrics.risk_ece_before, metrics.risk_ece_after),
        (metrics.diagnosis_ece_before, metrics.diagnosis_ece_after),
    ):
        assert before.value is not None and before.value > 0.06
        assert after.value is not None and after.low is not None and after.high is not None
        assert after.low <= after.value <= after.high and after.value < 0.03


def test_photos_without_a_diagnosis_calibrate_the_risk_alone():
    logits = random_logits(400)
    truth_B = np.where(np.arange(400) < 100, -1, logits.truth_B)
    partly = replace(logits, truth_B=truth_B)

    calibration, diagnosed = fit_calibration(partly), logits[np.arange(100, 400)]

    assert calibration.diagnosis_temperature == fit_calibration(diagnosed).diagnosis_temperature
    assert calibration.risk_shift == fit_calibration(logits).risk_shift
    assert calibration_metrics(partly, calibration).diagnosis_ece_after.value is not None


@pytest.mark.parametrize("malignant", [[0, 0, 0, 0], [0, 1, 0, 1], [1, 1, 1, 1]])
def test_a_handful_of_photos_does_not_lead_to_probabilities_of_0_and_1(malignant: list[int]):
    separated = np.array([[0.0, 20 * m - 10] for m in malignant])
    logits = LabelledLogits(
        risk_BR=separated,
        diagnosis_BK=separated,
        malignant_B=np.array(malignant),
        truth_B=np.array(malignant),
    )

    calibration = fit_calibration(logits)

    probability = calibration.malignant_probability(separated)
    assert ((probability > 0.001) & (probability < 0.999)).all()
    assert 0.1 <= calibration.diagnosis_temperature <= 10
    assert calibration_metrics(logits, calibration).risk_ece_after.value is not None


@pytest.mark.parametrize("num_members", [0, 2], ids=["one network", "ensemble"])
def test_folding_in_changes_the_logits_as_the_calibration_says(num_members: int):
    torch.manual_seed(0)
    shape: dict[str, Any] = {"num_diagnoses": 3, "input_px": 32}
    net = LesionEnsemble(num_members=2, **shape) if num_members else LesionNet(**shape)
    net.eval()
    calibration = Calibration(diagnosis_temperature=0.7, risk_temperature=1.6, risk_shift=-0.4)
    image = torch.randn(2, 3, 32, 32)

    with torch.inference_mode():
        before, after = net(image), fold_in(net, calibration)(image)
        again = net(image)

    assert after.risk_BR.softmax(1)[:, 1].numpy() == pytest.approx(
        calibration.malignant_probability(before.risk_BR.numpy()), abs=1e-5
    )
    assert after.diagnosis_BK.softmax(1).numpy() == pytest.approx(
        calibration.diagnosis_probability(before.diagnosis_BK.numpy()), abs=1e-5
    )
    assert torch.equal(before.risk_BR, again.risk_BR)


def test_a_threshold_reaches_its_sensitivity_on_other_photos():
    logits, others = random_logits(1000), random_logits(20_000, seed=1)
    probability = Calibration().malignant_probability
    found = probability(others.risk_BR)[others.malignant_B == 1]

    thresholds = [
        threshold_for_sensitivity(wanted, probability(logits.risk_BR), logits.malignant_B, logits.group_B)
        for wanted in (0.8, 0.9, 0.95)
    ]

    reached = [float((found >= threshold).mean()) for threshold in thresholds]
    assert reached == pytest.approx([0.8, 0.9, 0.95], abs=0.03)
    assert sorted(thresholds, reverse=True) == thresholds


def test_with_few_malignant_photos_the_threshold_detects_all_of_them():
    probability, malignant = np.array([0.1, 0.2, 0.35, 0.4]), np.array([0, 0, 1, 1])

    assert threshold_for_sensitivity(0.95, probability, malignant) == pytest.approx(0.35, abs=1e-4)
    with pytest.raises(ValueError, match="there are none"):
        threshold_for_sensitivity(0.95, probability, np.zeros(4, int))


def test_folds_keep_groups_whole_and_classes_balanced():
    group = [str(index // 3) for index in range(90)]
    klass = np.repeat([0, 0, 0, 0, 1], 18)

    half = assign_folds(group, klass, 2, seed=0)

    assert all(len(set(half[i : i + 3])) == 1 for i in range(0, 90, 3))
    assert (half == 0).sum() == 45 and (half[klass == 1] == 0).sum() == 9
