"""Response of ``POST /v1/progress``. Axes: T photo of a series."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from models.images import Photo
from serve.progress.messages import FaceReport, ProgressReport
from serve.progress.photo_order import Order
from serve.progress.schemas import Box, FoundFace, PhotoReport, ProgressAnswer


@dataclass(frozen=True, kw_only=True)
class SeriesPhoto:
    """One photo of a series with its time and face."""

    index: int
    """Position in the request."""
    photo: Photo
    taken_at: datetime | None
    face: FaceReport | None


def progress_answer(report: ProgressReport, photos: Sequence[SeriesPhoto], order: Order) -> ProgressAnswer:
    """Build the response; ``photos`` are oldest first, as in the input of the network."""
    improved = min(1.0, max(0.0, report.improved_T[-1]))
    first_face = next(step for step, photo in enumerate(photos) if photo.face is not None)
    return ProgressAnswer(
        model=report.model,
        verdict="improved" if improved >= report.threshold else "worsened",
        improved_probability=improved,
        worsened_probability=1 - improved,
        order=order,
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
