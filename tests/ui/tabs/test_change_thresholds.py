from hypothesis import given
from hypothesis import strategies as st

from serve.progress.schemas import VerdictThresholds
from ui.tabs.change_thresholds import whole_percent_improved

THIRDS = VerdictThresholds(improved=0.663, worsened=0.663)


def test_a_probability_beside_a_threshold_stays_on_its_side():
    shown = [whole_percent_improved(p, THIRDS) for p in (0.6629, 0.663, 0.338, 0.3372, 0.336, 0.3349)]

    assert shown == [66, 67, 34, 34, 33, 33]


@given(st.floats(0, 1), st.floats(0.55, 0.95), st.floats(0.55, 0.95))
def test_rounded_probabilities_agree_with_the_verdict(probability: float, improved: float, worsened: float):
    thresholds = VerdictThresholds(improved=improved, worsened=worsened)

    shown = whole_percent_improved(probability, thresholds)

    verdict = thresholds.verdict(probability)
    assert (shown >= round(100 * improved, 6)) == (verdict == "improved")
    assert (100 - shown >= round(100 * worsened, 6)) == (verdict == "worsened")
    assert abs(shown - 100 * probability) <= 1.001
