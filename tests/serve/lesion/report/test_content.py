import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.lesion.report.content import (
    MAX_MESSAGE_CHARS,
    MAX_NAME_CHARS,
    MAX_REASONS,
    in_order_percentages,
    percentage,
    printable,
)
from serve.lesion.schemas import DiagnosisScore
from serve.runtime.errors import ApiError
from serve.schemas import ModelName, Reason
from tests.serve.lesion.report.random_answers import PROBABILITIES, not_usable, report_of, usable


@pytest.mark.parametrize(
    ("probability", "headline", "sentence"),
    [
        (0.1, "Verdict: benign", "The model gives 10% as the probability that the lesion is malignant."),
        (0.3, "Verdict: inconclusive", "The verdict is inconclusive from 20% to below 50%"),
        (
            0.5,
            "Verdict: malignant",
            "The verdict is malignant from 50%. Make an appointment with a doctor now.",
        ),
    ],
)
def test_the_verdict_is_in_words_with_probability_and_threshold(
    probability: float, headline: str, sentence: str
):
    report = report_of(usable(probability))

    assert report.headline == headline and sentence in report.explanation
    assert report.threshold_text == "benign below 20%, inconclusive from 20%, malignant from 50%"


def test_a_benign_verdict_on_a_blurred_photo_is_not_relied_on():
    blurred = usable(0.1).model_copy(update={"reasons": [Reason(code="blurred", message="it is blurred")]})

    assert "too blurred to rely on. Take a sharp photo." in report_of(blurred).explanation


def test_a_photo_that_is_not_usable_has_no_verdict():
    report = report_of(not_usable())

    assert report.headline == "No verdict: the photo is not usable"
    assert report.percentages == (None, "20%", "50%") and "was not classified" in report.explanation


def test_equal_thresholds_leave_no_inconclusive_range():
    report = report_of(usable(0.6, benign_threshold=0.5))

    assert report.threshold_text == "benign below 50%, malignant from 50%"


@given(st.lists(PROBABILITIES, min_size=3, max_size=3))
def test_rounding_never_moves_a_probability_over_a_threshold(values: list[float]):
    shown = [float(text.removesuffix("%")) for text in in_order_percentages(values)]

    assert sorted(range(3), key=values.__getitem__) == sorted(range(3), key=shown.__getitem__)


def test_a_probability_just_below_a_threshold_has_more_digits():
    assert in_order_percentages([0.2, 0.5, 0.19999]) == ["20%", "50%", "19.999%"]


def test_small_and_large_probabilities_are_not_shown_as_certain():
    assert [percentage(value) for value in (0, 1e-9, 0.123, 0.99999, 1)] == [
        "0.0%",
        "<0.1%",
        "12.3%",
        ">99.9%",
        "100.0%",
    ]


def test_control_characters_line_breaks_and_direction_marks_become_spaces():
    assert printable("a\x00\n\u2028b\u202ec\ufffe d") == "a b c d"
    assert report_of(usable(0.1, model=ModelName(name="\n", version=""))).answer.model == ModelName(
        name="unknown", version="unknown"
    )


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"model": ModelName(name="x" * (MAX_NAME_CHARS + 1), version="1")}, "a name of more than"),
        ({"diagnoses": [DiagnosisScore(name="Nevus", group="benign", probability=0)] * 28}, "28 diagnoses"),
        ({"reasons": [Reason(code="blurred", message="")] * (MAX_REASONS + 1)}, "reasons, at most"),
        ({"reasons": [Reason(code="blurred", message="x" * (MAX_MESSAGE_CHARS + 1))]}, "a reason of more"),
    ],
)
def test_more_text_than_the_lesion_route_sends_is_rejected(changes: dict[str, object], found: str):
    with pytest.raises(ApiError, match=found) as error:
        report_of(usable(0.1, **changes))

    assert error.value.code == "invalid_request"
