import pytest
from pydantic import ValidationError

from serve.lesion.verdict import LesionThresholds


@pytest.mark.parametrize(
    ("probability", "expected"),
    [(0, "benign"), (0.29, "benign"), (0.3, "inconclusive"), (0.6, "malignant"), (1, "malignant")],
)
def test_the_verdict_changes_at_both_thresholds(probability: float, expected: str):
    assert LesionThresholds(benign=0.3, malignant=0.6).verdict(probability) == expected


def test_equal_thresholds_leave_two_verdicts():
    equal = LesionThresholds(benign=0.5, malignant=0.5)

    assert [equal.verdict(probability) for probability in (0.499, 0.5)] == ["benign", "malignant"]


@pytest.mark.parametrize("probability", [float("nan"), float("inf"), -0.1, 1.1])
def test_there_is_no_verdict_without_a_probability(probability: float):
    with pytest.raises(ValueError, match="needed is 0 to 1"):
        LesionThresholds(benign=0.3, malignant=0.6).verdict(probability)


@pytest.mark.parametrize(("benign", "malignant"), [(0.6, 0.5), (-0.1, 0.5), (0.5, 1.1), (float("nan"), 0.5)])
def test_thresholds_in_the_wrong_order_or_out_of_range_are_rejected(benign: float, malignant: float):
    with pytest.raises(ValidationError):
        LesionThresholds(benign=benign, malignant=malignant)
