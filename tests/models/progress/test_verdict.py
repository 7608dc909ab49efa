import pytest

from models.progress.verdict import VerdictThresholds


def test_a_checkpoint_with_one_threshold_keeps_two_verdicts():
    thresholds = VerdictThresholds.of({"improved": 0.55})

    assert [thresholds.verdict(p) for p in (0.0, 0.54, 0.55)] == ["worsened", "worsened", "improved"]
    assert [thresholds.is_improved(p) for p in (0.54, 0.55)] == [False, True]


def test_two_thresholds_leave_a_third_verdict_between_and_two_classes_at_one_half():
    thresholds = VerdictThresholds.of({"improved": 0.75, "worsened": 0.75})

    verdicts = [thresholds.verdict(p) for p in (0.25, 0.26, 0.5, 0.74, 0.75)]

    assert verdicts == ["worsened", "no_clear_change", "no_clear_change", "no_clear_change", "improved"]
    assert [thresholds.is_improved(p) for p in (0.49, 0.5)] == [False, True]


@pytest.mark.parametrize("thresholds", [{"improved": 0.5}, {"improved": 0.75, "worsened": 0.75}])
def test_nan_is_an_error_and_never_worsened(thresholds: dict[str, float]):
    with pytest.raises(ValueError, match="is NaN"):
        VerdictThresholds.of(thresholds).verdict(float("nan"))


def test_thresholds_that_overlap_are_rejected():
    with pytest.raises(ValueError, match="must be above 1"):
        VerdictThresholds(improved=0.5, worsened=0.5)
