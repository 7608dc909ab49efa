"""Response of ``POST /v1/progress``. Axes: T photo of a series."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from models.images import Photo
from models.photo_quality import Problem
from serve.progress.messages import FaceReport, ProgressReport
from serve.progress.photo_order import Order, find_missing_times
from serve.progress.schemas import Box, FoundFace, PhotoReport, ProgressAnswer
from serve.schemas import Reason


@dataclass(frozen=True, kw_only=True)
class SeriesPhoto:
    """One photo of a series with its time and face."""

    index: int
    """Position in the request."""
    photo: Photo
    taken_at: datetime | None
    face: FaceReport | None


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
    improved = min(1.0, max(0.0, report.improved_T[-1]))
    first_face = next(step for step, photo in enumerate(photos) if photo.face is not None)
    return ProgressAnswer(
        model=report.model,
        verdict="improved" if improved >= report.threshold else "worsened",
        improved_probability=improved,
        worsened_probability=1 - improved,
        order=order,
        reasons=[*find_missing_times(order, [photo.taken_at for photo in by_index]), *quality_reasons],
        photos=[
            PhotoReport(
                index=photo.index,
                taken_at=photo.taken_at,
                face=photo.face and _found_face(photo.face, photo.photo),
                improved_probability_so_far=so_far if photo.face is not None and step > first_face else None,
            )
            for step, (photo, so_far) in enumerate(zip(photos, report.improved_T, strict=True))
        ],
    )


def _found_face(face: FaceReport, photo: Photo) -> FoundFace:
    """Convert a box from pixels of the reduced photo to pixels of the original."""
    rows, columns = photo.image_HWC.shape[:2]
    right_end, bottom_end = float(photo.width_px), float(photo.height_px)
    across, down = right_end / columns, bottom_end / rows
    left, top, right, bottom = face.box
    return FoundFace(
        box=Box(
            left=min(right_end, max(0.0, left * across)),
            top=min(bottom_end, max(0.0, top * down)),
            right=min(right_end, max(0.0, right * across)),
            bottom=min(bottom_end, max(0.0, bottom * down)),
        ),
        confidence=min(1.0, max(0.0, face.confidence)),
    )
