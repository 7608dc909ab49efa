import numpy as np
import pytest
import torch

from models.lesion.network import LesionEnsemble, LesionNet
from train.lesion.calibration import (
    Calibration,
    Judged,
    calibration_metrics,
    fit_calibration,
    fit_platt,
    fit_temperature,
    fold_in,
    parts_of,
    threshold_for,
)


def drawn(num: int, *, seed: int = 0) -> Judged:
    """Logits that are right once the diagnosis is divided by 0.5, the risk by 2 and shifted by -1."""
    random = np.random.default_rng(seed)
    logits_BK = random.normal(0, 2, (num, 3))
    truth_B = (logits_BK + random.gumbel(size=logits_BK.shape)).argmax(1)
    margin_B = random.normal(-1, 2, num)
    malignant_B = (random.random(num) < 1 / (1 + np.exp(-margin_B))).astype(int)
    return Judged(
        risk_BR=np.stack([np.zeros(num), 2 * (margin_B + 1)], axis=1),
        diagnosis_BK=logits_BK * 0.5,
        malignant_B=malignant_B,
        truth_B=truth_B,
        group_B=[str(index // 2) for index in range(num)],
    )


def test_the_temperature_is_found_again():
    judged = drawn(4000)

    assert fit_temperature(judged.diagnosis_BK, judged.truth_B) == pytest.approx(0.5, rel=0.08)


def test_temperature_and_shift_of_the_risk_are_found_again():
    judged = drawn(4000)

    temperature, shift = fit_platt(judged.risk_BR, judged.malignant_B)

    assert temperature == pytest.approx(2, rel=0.1)
    assert shift == pytest.approx(-1, abs=0.12)


def test_calibration_lowers_the_errors_on_halves_it_was_not_fitted_on():
    judged = drawn(1500)

    figures = calibration_metrics(judged, fit_calibration(judged))

    for head in ("risk", "diagnosis"):
        before, after = figures[f"{head}_ece_before"], figures[f"{head}_ece_after"]
        assert before["value"] > 0.06 and after["value"] < 0.03
        assert after["low"] <= after["value"] <= after["high"]


@pytest.mark.parametrize("malignant", [[0, 0, 0, 0], [0, 1, 0, 1], [1, 1, 1, 1]])
def test_a_handful_of_photos_does_not_ask_for_certainty(malignant: list[int]):
    told_apart = np.array([[0.0, 20 * m - 10] for m in malignant])
    judged = Judged(
        risk_BR=told_apart,
        diagnosis_BK=told_apart,
        malignant_B=np.array(malignant),
        truth_B=np.array(malignant),
    )

    calibration = fit_calibration(judged)

    probability = calibration.malignant_probability(told_apart)
    assert ((probability > 0.001) & (probability < 0.999)).all()
    assert 0.1 <= calibration.diagnosis_temperature <= 10
    assert np.isfinite(calibration_metrics(judged, calibration)["risk_ece_after"]["value"])


@pytest.mark.parametrize("num_members", [0, 2], ids=["one network", "ensemble"])
def test_folding_in_changes_the_logits_as_the_calibration_says(num_members: int):
    torch.manual_seed(0)
    shape = {"num_diagnoses": 3, "input_px": 32}
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
    judged, others = drawn(1000), drawn(20_000, seed=1)
    probability = Calibration().malignant_probability
    found = probability(others.risk_BR)[others.malignant_B == 1]

    thresholds = [
        threshold_for(wanted, probability(judged.risk_BR), judged.malignant_B, judged.group_B)
        for wanted in (0.8, 0.9, 0.95)
    ]

    reached = [float((found >= threshold).mean()) for threshold in thresholds]
    assert reached == pytest.approx([0.8, 0.9, 0.95], abs=0.03)
    assert sorted(thresholds, reverse=True) == thresholds


def test_with_few_malignant_photos_the_threshold_catches_them_all():
    probability, malignant = np.array([0.1, 0.2, 0.35, 0.4]), np.array([0, 0, 1, 1])

    assert threshold_for(0.95, probability, malignant) == pytest.approx(0.35, abs=1e-4)
    with pytest.raises(ValueError, match="there are none"):
        threshold_for(0.95, probability, np.zeros(4, int))


def test_halves_keep_groups_whole_and_classes_alike():
    group = [str(index // 3) for index in range(90)]
    klass = np.repeat([0, 0, 0, 0, 1], 18)

    half = parts_of(group, klass, 2, seed=0)

    assert all(len(set(half[i : i + 3])) == 1 for i in range(0, 90, 3))
    assert (half == 0).sum() == 45 and (half[klass == 1] == 0).sum() == 9
