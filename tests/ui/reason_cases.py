"""For each reason of an answer: an answer with it, and what the page must say."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import get_args

import serve.schemas
from serve.lesion.schemas import LesionAnswer
from serve.progress.schemas import Eyes, Point, ProgressAnswer
from serve.schemas import Reason, ReasonCode
from tests.ui.conftest import lesion_answer, not_usable_answer, progress_answer

CODES: tuple[ReasonCode, ...] = get_args(serve.schemas.ReasonCode)
FIRST_DAY = datetime(2026, 3, 1, 9)
LESION_BOX = (150, 140, 460, 450)


@dataclass(frozen=True, kw_only=True)
class ReasonCase:
    """An answer with a reason, and the heading, advice and finding that a person must read."""

    answer: LesionAnswer | ProgressAnswer
    heading: str
    advice: str
    finding: str = ""
    """In English only: other languages have texts without measurements."""


def not_usable(
    code: ReasonCode, message: str, heading: str, advice: str, *, has_box: bool = False
) -> ReasonCase:
    answer = not_usable_answer(code, lesion_box=LESION_BOX if has_box else None)
    answer = answer.model_copy(update={"reasons": [Reason(code=code, message=message)]})
    finding = message.partition(";")[0]
    return ReasonCase(
        answer=answer, heading=heading, advice=advice, finding=f"{finding[:1].upper()}{finding[1:]}."
    )


def cautioned(code: ReasonCode, message: str, heading: str, advice: str) -> ReasonCase:
    boxes = {"lesion_box": LESION_BOX, "crop_box": (90, 90, 520, 520)}
    answer = lesion_answer(benign_threshold=0.05) if code == "near_threshold" else lesion_answer()
    reasons = [Reason(code=code, message=message)]
    return ReasonCase(
        answer=answer.model_copy(update=boxes | {"reasons": reasons}), heading=heading, advice=advice
    )


def series(
    code: ReasonCode, message: str, heading: str, advice: str, change: Callable[[ProgressAnswer], dict]
) -> ReasonCase:
    eyes = Eyes(left=Point(x=190, y=220), right=Point(x=290, y=220))
    answer = progress_answer(3, improved=0.55, thresholds=(0.66, 0.66))
    photos = [
        photo.model_copy(
            update={
                "taken_at": FIRST_DAY + timedelta(days=30 * photo.index),
                "face": photo.face and photo.face.model_copy(update={"eyes": eyes}),
                "same_person": True,
            }
        )
        for photo in answer.photos
    ]
    answer = answer.model_copy(
        update={"photos": photos, "order": "exif", "reasons": [Reason(code=code, message=message)]}
    )
    answer = answer.model_copy(update=change(answer))
    return ReasonCase(answer=answer, heading=heading, advice=advice, finding=message.partition(";")[0][1:])


def _of_photo(answer: ProgressAnswer, index: int, **update: object) -> list:
    photos = list(answer.photos)
    photos[index] = photos[index].model_copy(update=update)
    return photos


def _inconclusive(answer: ProgressAnswer, index: int, **update: object) -> dict:
    photos = [
        photo.model_copy(update={"improved_probability_so_far": None})
        for photo in _of_photo(answer, index, **update)
    ]
    return {
        "verdict": "inconclusive",
        "improved_probability": 0.5,
        "worsened_probability": 0.5,
        "photos": photos,
    }


def _improved(answer: ProgressAnswer) -> dict:
    photos = _of_photo(answer, -1, improved_probability_so_far=0.83)
    return {
        "verdict": "improved",
        "improved_probability": 0.83,
        "worsened_probability": 0.17,
        "photos": photos,
    }


def _few_faces(answer: ProgressAnswer) -> dict:
    photos = _of_photo(answer, 0, face=None, same_person=None)
    return _inconclusive(answer.model_copy(update={"photos": photos}), 2, face=None, same_person=None)


REASON_CASES: dict[ReasonCode, ReasonCase] = {
    "too_small": not_usable(
        "too_small",
        "the photo has 20 x 20 pixels, at least 32 x 32 are needed; send the original photo",
        "This photo is too small",
        "Send the original photo, not a thumbnail or a screenshot.",
    ),
    "too_dark": not_usable(
        "too_dark",
        "96% of the photo is black, at most 90% may be; take it again in daylight",
        "This photo is too dark",
        "Take it again in daylight, near a window.",
    ),
    "overexposed": not_usable(
        "overexposed",
        "93% of the photo is white, at most 80% may be; take it again with less light",
        "This photo is too bright",
        "Take it again without flash and out of direct sun.",
    ),
    "not_skin": not_usable(
        "not_skin",
        "the photo does not look like skin; take a sharp photo of the lesion",
        "This does not look like a skin lesion",
        "Use daylight, and no filter or black and white.",
    ),
    "no_lesion": not_usable(
        "no_lesion",
        "no lesion was found in the photo; take it from about 10 cm, or mark the lesion",
        "No lesion was found",
        "Take the photo from 10 cm, with the lesion in the middle.",
    ),
    "lesion_too_small": not_usable(
        "lesion_too_small",
        "what looks most like a lesion has 31 pixels in the photo, at least 48 are needed; move closer",
        "No lesion large enough was found",
        "Do not use the digital zoom: it adds no detail.",
        has_box=True,
    ),
    "blurred": cautioned(
        "blurred",
        "the lesion is blurred: its sharpness is 0.11, at least 0.20 is needed for a reliable answer",
        "Looks benign",
        "Take the photo again, and tap on the lesion on the screen of the phone to focus on it.",
    ),
    "unfamiliar": not_usable(
        "unfamiliar",
        "the photo differs too much from the training photos for a reliable answer; take a sharp photo",
        "The network does not know photos like this",
        "Keep plasters, jewellery and hair out of it.",
        has_box=True,
    ),
    "near_threshold": cautioned(
        "near_threshold",
        "the probability of malignancy is 0.12; below 0.05 the verdict would be benign",
        "Inconclusive",
        "The network cannot tell whether this lesion is benign or malignant. Show it to a doctor, or take "
        "another sharp photo from 10 cm in daylight.",
    ),
    "several_lesions": cautioned(
        "several_lesions",
        "the photo shows several lesions; take a photo of each lesion by itself",
        "Looks benign",
        "Only the one in the frame was classified. Take a photo of each one by itself.",
    ),
    "times_missing": series(
        "times_missing",
        "photo 2 records no capture time; send taken_at for each photo",
        "When were these photos taken?",
        "Compare by these dates",
        lambda answer: {"photos": _of_photo(answer, 1, taken_at=None), "order": "upload"},
    ),
    "different_people": series(
        "different_people",
        "photo 2 seems to show another person than photos 1 and 3; send photos of one person",
        "Inconclusive",
        "If all photos show you, leave out the marked ones: a mask or a strong profile can hide a face.",
        lambda answer: _inconclusive(answer, 1, same_person=False),
    ),
    "no_clear_change": series(
        "no_clear_change",
        "the probability of improved is 0.55; improved needs 0.66, worsened 0.34 or less",
        "No clear change",
        "Take every photo at the same place, in the same light, without make-up or filter.",
        lambda answer: {},
    ),
    "few_faces": series(
        "few_faces",
        "of 3 photos only one shows a face, at least 2 are needed; take each photo from the front",
        "Inconclusive",
        "Send at least two photos that show the whole face from the front.",
        _few_faces,
    ),
    "light_differs": series(
        "light_differs",
        "the face in photo 1 is 2.7 times as bright as that in photo 3, at most 2 times is similar light; "
        "different light can look like a change of the skin: compare photos in the same light",
        "Improved",
        "The light differs.",
        _improved,
    ),
}
