from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from models.lesion.localizer import Box, crop_square
from models.lesion.preparation import PreparedLesion
from models.photo_quality import Problem
from serve.lesion.answers import named_diagnosis, near_threshold, unusable_answer, usable_answer
from serve.lesion.schemas import DiagnosisScore, LesionAnswer
from serve.lesion.verdict import LesionThresholds
from serve.schemas import ModelName
from tests.serve.fakes import THRESHOLDS, lesion_report, score

MELANOMA, NEVUS = score("Melanoma", "malignant", 0.6), score("Nevus", "benign", 0.3)
CARCINOMA, WART = score("Basal cell carcinoma", "malignant", 0.06), score("Wart", "benign", 0.04)
THREE_WAY = LesionThresholds(benign=0.2, malignant=0.6)


def prepared(
    width_px: int = 640, height_px: int = 480, *, box: tuple[float, float, float, float] | None = None
) -> PreparedLesion:
    """The input of the network for a photo with a lesion in ``box``, shares of the frame."""
    shares = None if box is None else Box(*box)
    return PreparedLesion(
        image_HWC=np.zeros((32, 32, 3), np.uint8),
        width_px=width_px,
        height_px=height_px,
        localization=None,
        crop_box=crop_square(shares, width_px, height_px),
        lesion_box=None if shares is None else shares.scaled(width_px, height_px),
        is_box_given=False,
        sharpness=1.0,
        problems=[],
    )


@pytest.mark.parametrize(
    ("malignant", "scores", "expected"),
    [
        (0.2, [MELANOMA, NEVUS], NEVUS),  # the other group is left out
        (0.8, [MELANOMA, NEVUS], MELANOMA),
        (0.5, [MELANOMA, NEVUS], MELANOMA),  # malignant from the threshold on
        (0.8, [NEVUS, CARCINOMA], None),  # below the naming threshold
        (0.2, [MELANOMA, WART], None),
        (0.2, [MELANOMA, score("Wart", "benign", 0.1)], score("Wart", "benign", 0.1)),
        (0.2, [MELANOMA], None),  # no diagnosis of that group
    ],
)
def test_the_named_diagnosis_is_of_the_verdicts_group(
    malignant: float, scores: list[DiagnosisScore], expected: DiagnosisScore | None
):
    assert named_diagnosis(lesion_report(malignant, *scores)) == expected


def test_diagnoses_of_both_groups_are_listed_in_descending_order():
    report = lesion_report(0.2, MELANOMA, NEVUS, CARCINOMA, WART)

    answer = usable_answer(report, prepared(), top_k=3)

    assert answer.diagnoses == [MELANOMA, NEVUS, CARCINOMA]
    assert (answer.verdict, answer.diagnosis) == ("benign", NEVUS)


@pytest.mark.parametrize(
    ("malignant", "verdict", "risk_level", "diagnosis", "codes"),
    [
        (0.19, "benign", "low", NEVUS, ["several_lesions"]),
        (0.2, "inconclusive", "medium", None, ["near_threshold", "several_lesions"]),
        (0.59, "inconclusive", "medium", None, ["near_threshold", "several_lesions"]),
        (0.6, "malignant", "high", MELANOMA, ["several_lesions"]),
    ],
)
def test_between_the_thresholds_a_usable_photo_is_inconclusive_and_names_no_diagnosis(
    malignant: float, verdict: str, risk_level: str, diagnosis: DiagnosisScore | None, codes: list[str]
):
    report = lesion_report(malignant, MELANOMA, NEVUS, thresholds=THREE_WAY)

    answer = usable_answer(report, prepared(), [Problem(code="several_lesions", message="two")], top_k=2)

    assert (answer.verdict, answer.risk_level, answer.diagnosis) == (verdict, risk_level, diagnosis)
    assert [reason.code for reason in answer.reasons] == codes
    assert (answer.malignant_probability, answer.diagnoses) == (malignant, [MELANOMA, NEVUS])
    assert (answer.benign_threshold, answer.threshold) == (0.2, 0.6)


@pytest.mark.parametrize("malignant", [0.2, 0.4, 0.5999999, float(np.nextafter(0.6, 0))])
def test_the_message_of_near_threshold_never_rounds_the_probability_to_a_threshold(malignant: float):
    message = near_threshold(lesion_report(malignant, thresholds=THREE_WAY)).message

    shown = float(message.split("malignancy is ")[1].split(";")[0])
    assert 0.2 <= shown < 0.6 and shown == pytest.approx(malignant, abs=0.005)
    assert "below 0.2" in message and "from 0.6 malignant" in message


def test_boxes_are_whole_pixels_inside_the_photo():
    answer = usable_answer(lesion_report(), prepared(box=(0.5, 0.5, 2 / 3, 0.75)), top_k=1)
    corner = usable_answer(lesion_report(), prepared(33, 21, box=(0.97, 0.97, 1, 1)), top_k=1)

    assert answer.lesion_box == (320, 240, 427, 360)
    assert answer.crop_box is not None and corner.crop_box is not None
    left, top, right, bottom = answer.crop_box
    assert right - left == bottom - top == round(2.4 * 120)
    assert left < 320 and top < 240 and right > 427 and bottom > 360
    assert corner.lesion_box == (32, 20, 33, 21)
    assert corner.crop_box[2:] == (33, 21) and corner.crop_box[0] >= 0


def test_an_unusable_photo_has_a_crop_only_if_the_network_read_it():
    problems = [Problem(code="unfamiliar", message="unlike the training photos")]

    def answer(is_classified: bool) -> LesionAnswer:
        photo = prepared(box=(0.4, 0.4, 0.6, 0.6))
        model = ModelName(name="lesion-fake", version="1")
        return unusable_answer(
            problems, photo, model=model, thresholds=THRESHOLDS, is_classified=is_classified
        )

    assert answer(True).crop_box is not None and answer(False).crop_box is None
    assert answer(True).lesion_box == answer(False).lesion_box == (256, 192, 384, 288)


@pytest.mark.parametrize(("is_given", "expected"), [(False, None), (True, (256, 192, 384, 288))])
def test_a_photo_in_which_no_lesion_was_found_has_no_box_but_a_given_one(is_given: bool, expected):
    photo = replace(prepared(box=(0.4, 0.4, 0.6, 0.6)), is_box_given=is_given)

    answer = unusable_answer(
        [Problem(code="no_lesion", message="no lesion was found")],
        photo,
        model=ModelName(name="lesion-fake", version="1"),
        thresholds=THRESHOLDS,
        is_classified=True,
    )

    assert answer.lesion_box == expected and answer.crop_box is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"verdict": "benign"},
        {"risk_level": "low"},
        {"malignant_probability": 0.1},
        {"malignant_probability": float("nan")},
        {"malignant_probability": None},
        {"reasons": []},
        {"crop_box": None},
        {"diagnosis": MELANOMA},
        {"benign_threshold": 0.7},
        {"lesion_box": (5, 5, 5, 9)},
        {"crop_box": (-1, 0, 9, 9)},
    ],
)
def test_a_usable_answer_that_contradicts_itself_is_impossible(changes: dict[str, object]):
    content = usable_answer(lesion_report(0.4, thresholds=THREE_WAY), prepared(), top_k=1).model_dump()
    LesionAnswer.model_validate(content)

    with pytest.raises(ValidationError):
        LesionAnswer.model_validate(content | changes)
