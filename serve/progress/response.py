"""Response of ``POST /v1/progress``. Axes: T photo of a series."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from models.face.brightness import MAX_BRIGHTNESS_RATIO, face_brightness
from models.face.same_person import find_same_person
from models.images import Photo
from models.limits import MIN_SERIES_PHOTOS
from models.photo_quality import Problem
from serve.progress.messages import FaceReport, ProgressReport
from serve.progress.photo_order import Order, find_missing_times, name_photos
from serve.progress.schemas import Box, Eyes, FoundFace, PhotoReport, Point, ProgressAnswer
from serve.schemas import Reason


@dataclass(frozen=True, kw_only=True)
class SeriesPhoto:
    """One photo of a series with its time and face."""

    index: int
    """Position in the request."""
    photo: Photo
    taken_at: datetime | None
    face: FaceReport | None


FACE_ADVICE = "send photos that show the whole face from the front, in good light"
_UNKNOWN = 0.5
"""Probability of either class if the photos cannot be compared."""


def photo_reasons(problems: Sequence[Sequence[Problem]]) -> list[Reason]:
    """Return the problems of a series' photos as reasons.

    Args:
        problems: of each photo, in the order of the request.
    """
    return [
        Reason(code=problem.code, message=f"photo {number}: {problem.message}")
        for number, found in enumerate(problems, 1)
        for problem in found
        if problem.code != "no_lesion"  # a face may have none; an even photo shows no face
    ]


def progress_answer(
    report: ProgressReport,
    photos: Sequence[SeriesPhoto],
    order: Order,
    quality_reasons: Sequence[Reason] = (),
) -> ProgressAnswer:
    """Build the response; ``photos`` are oldest first, as in the input of the network."""
    by_index = sorted(photos, key=lambda photo: photo.index)
    faces = [photo.face for photo in photos]
    same_person = compare_faces(faces)
    numbers = [photo.index + 1 for photo in photos]
    blocking = blocking_reasons(faces, same_person, numbers=numbers)
    improved = _UNKNOWN if blocking else min(1.0, max(0.0, report.improved_T[-1]))
    first_face = next(step for step, face in enumerate(faces) if face is not None)
    return ProgressAnswer(
        model=report.model,
        verdict="inconclusive" if blocking else report.thresholds.verdict(improved),
        improved_probability=improved,
        worsened_probability=1 - improved,
        improved_threshold=report.thresholds.improved,
        worsened_threshold=report.thresholds.worsened,
        order=order,
        reasons=[
            *(blocking or change_reasons(report)),
            *find_missing_times(order, [photo.taken_at for photo in by_index]),
            *quality_reasons,
            *([] if blocking else light_reasons(faces, numbers=numbers)),
        ],
        photos=[
            PhotoReport(
                index=photo.index,
                taken_at=photo.taken_at,
                face=photo.face and _found_face(photo.face, photo.photo),
                same_person=same,
                improved_probability_so_far=so_far
                if photo.face is not None and step > first_face and not blocking
                else None,
            )
            for step, (photo, same, so_far) in enumerate(
                zip(photos, same_person, report.improved_T, strict=True)
            )
        ],
    )


def compare_faces(faces: Sequence[FaceReport | None]) -> list[bool | None]:
    """Return whether each face is that of the person in most photos; None if that is not known.

    Args:
        faces: of the photos, oldest first.
    """
    found = [step for step, face in enumerate(faces) if face is not None and face.descriptor_D is not None]
    same_person: list[bool | None] = [None] * len(faces)
    if found:
        descriptor_ND = np.stack([_descriptor(faces[step]) for step in found])
        distance = max(face.same_person_distance for face in faces if face is not None)
        for step, same in zip(found, find_same_person(descriptor_ND, distance), strict=True):
            same_person[step] = bool(same)
    return same_person


def blocking_reasons(
    faces: Sequence[FaceReport | None], same_person: Sequence[bool | None], *, numbers: Sequence[int]
) -> list[Reason]:
    """Return why the photos cannot be compared; an empty list if they can.

    Args:
        numbers: of the photos, from 1 in upload order.
    """
    num_faces = sum(face is not None for face in faces)
    if num_faces < MIN_SERIES_PHOTOS:
        message = (
            f"of {len(faces)} photos only one shows a face, at least {MIN_SERIES_PHOTOS} are needed; "
            f"{FACE_ADVICE}"
        )
        return [Reason(code="few_faces", message=message)]
    others = sorted(number for number, same in zip(numbers, same_person, strict=True) if same is False)
    if not others:
        return []
    people = sorted(number for number, same in zip(numbers, same_person, strict=True) if same)
    message = (
        f"{name_photos(others)} {'seems' if len(others) == 1 else 'seem'} to show another person than "
        f"{name_photos(people)}; send photos of one person, alone in the picture"
    )
    return [Reason(code="different_people", message=message)]


def change_reasons(report: ProgressReport) -> list[Reason]:
    """Return the reason of a verdict of no clear change; an empty list for the other verdicts."""
    improved, thresholds = report.improved_T[-1], report.thresholds
    if thresholds.worsened is None or thresholds.verdict(improved) != "no_clear_change":
        return []
    message = (
        f"the probability of improved is {improved:.3f}; improved needs {thresholds.improved:.3f}, worsened "
        f"{1 - thresholds.worsened:.3f} or less; add photos in the same light, or compare again after more "
        "time"
    )
    return [Reason(code="no_clear_change", message=message)]


def light_reasons(faces: Sequence[FaceReport | None], *, numbers: Sequence[int]) -> list[Reason]:
    """Return ``light_differs`` if the brightness of the faces differs too much; else an empty list.

    Args:
        numbers: of the photos, from 1 in upload order.
    """
    found = [
        (face_brightness(face.crop_HWC), number)
        for face, number in zip(faces, numbers, strict=True)
        if face is not None
    ]
    (darkest, darkest_photo), (brightest, brightest_photo) = min(found), max(found)
    if brightest <= MAX_BRIGHTNESS_RATIO * darkest:
        return []
    times = math.ceil(10 * brightest / darkest) / 10
    message = (
        f"the face in photo {brightest_photo} is {times} times as bright as that in photo {darkest_photo}, "
        f"at most {MAX_BRIGHTNESS_RATIO} times is similar light; different light can look like a change of "
        "the skin: compare photos in the same light"
    )
    return [Reason(code="light_differs", message=message)]


def _descriptor(face: FaceReport | None) -> np.ndarray:
    assert face is not None and face.descriptor_D is not None
    return face.descriptor_D


def _found_face(face: FaceReport, photo: Photo) -> FoundFace:
    """Convert a box from pixels of the reduced photo to pixels of the original."""
    rows, columns = photo.image_HWC.shape[:2]
    right_end, bottom_end = float(photo.width_px), float(photo.height_px)
    across, down = right_end / columns, bottom_end / rows
    left, top, right, bottom = face.box
    points = [Point(x=x * across, y=y * down) for x, y in face.eyes or ()]
    return FoundFace(
        box=Box(
            left=min(right_end, max(0.0, left * across)),
            top=min(bottom_end, max(0.0, top * down)),
            right=min(right_end, max(0.0, right * across)),
            bottom=min(bottom_end, max(0.0, bottom * down)),
        ),
        confidence=min(1.0, max(0.0, face.confidence)),
        eyes=Eyes(left=points[0], right=points[1]) if points else None,
    )
