import numpy as np
import pytest
import torch

from models.lesion.engine import LesionOutput
from models.lesion.network import LesionNet
from models.lesion.quantization.int8 import activation_names, is_valid_range
from train.lesion.calibration import LabelledLogits
from train.lesion.calibration_ranges import int8_metrics, least_error_range, measure_ranges


class Noise:
    """Replace ``LesionPhotos`` for measuring ranges."""

    def __len__(self) -> int:
        return 20

    def __getitems__(self, indices: list[int]) -> dict[str, torch.Tensor]:
        noise = torch.randint(256, (20, 32, 32, 3), generator=torch.Generator().manual_seed(1))
        return {"image": noise.to(torch.uint8)[indices]}


@pytest.mark.parametrize("side_px", [32, 160])
def test_every_activation_has_a_range_that_contains_zero(side_px: int):
    torch.manual_seed(0)
    net = LesionNet(num_diagnoses=2, input_px=side_px)

    ranges = measure_ranges(net, Noise())  # pyright: ignore[reportArgumentType]

    assert set(ranges) == set(activation_names(side_px))
    assert all(low <= 0 < high for low, high in ranges.values())
    assert all(is_valid_range(name, values) for name, values in ranges.items())
    assert ranges["stem"][0] == 0 and ranges["layer1.0.shortcut"][0] < 0
    assert not net.backbone.maxpool._forward_pre_hooks


def test_an_outlier_is_clipped_and_a_uniform_distribution_is_not():
    even = np.full(2048, 100.0)
    outlier = np.zeros(2048)
    outlier[:400], outlier[-1] = 1e6, 1

    assert least_error_range(even, 0, 10) == pytest.approx((0, 10), rel=0.01)
    assert least_error_range(outlier, 0, 10)[1] < 5


def test_values_of_both_signs_keep_both_signs():
    count = np.full(2048, 100.0)

    assert least_error_range(count, -4, 6) == pytest.approx((-4, 6), rel=0.01)


def test_a_range_without_values_has_a_positive_width():
    assert least_error_range(np.zeros(2048), 0, 0) == (0, 1e-6)


def logits_of(truth: list[int]) -> LabelledLogits:
    truth_B = np.array(truth)
    return LabelledLogits(
        risk_BR=np.zeros((len(truth), 2)),
        diagnosis_BK=np.zeros((len(truth), 2)),
        malignant_B=truth_B,
        truth_B=truth_B,
        group_B=list(range(len(truth))),
    )


def output(second_B: list[float]) -> LesionOutput:
    probability = np.array(second_B)
    return LesionOutput(
        malignant_B=probability, diagnosis_BK=np.stack([1 - probability, probability], axis=1)
    )


def test_the_cost_of_int8_is_measured_and_limited():
    logits = logits_of([0, 0, 1, 1])
    float32 = output([0.1, 0.4, 0.6, 0.9])

    same = int8_metrics("onednn-int8", float32, float32, logits)
    changed = int8_metrics("onednn-int8", output([0.1, 0.7, 0.6, 0.9]), float32, logits)
    not_finite = int8_metrics("onednn-int8", output([0.1, 0.4, np.nan, 0.9]), float32, logits)

    assert same.passed and same.macro_auroc_difference == 0 == same.changed_share
    assert not changed.passed and changed.changed_share == 0.25
    assert changed.macro_auroc_difference == -0.25
    assert changed.balanced_accuracy_difference.value == -0.25
    assert changed.largest_difference == pytest.approx(0.3)
    assert not not_finite.passed


def test_a_lower_auroc_alone_rejects_int8():
    logits = logits_of([0, 0, 1, 1])

    cost = int8_metrics("onednn-int8", output([0.1, 0.45, 0.4, 0.9]), output([0.1, 0.35, 0.4, 0.9]), logits)

    assert cost.changed_share == 0 and cost.macro_auroc_difference == -0.25
    assert not cost.passed


def test_photos_of_one_diagnosis_have_no_auroc_difference():
    cost = int8_metrics("onednn-int8", output([0.6, 0.7]), output([0.6, 0.7]), logits_of([1, 1]))

    assert cost.passed and cost.macro_auroc_difference is None
