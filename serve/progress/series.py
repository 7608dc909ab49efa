"""The order of a series of photos, and the answer about it. Axes: T photo of a series."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from models.images import Photo
from serve.messages import FaceReport, ProgressReport
from serve.runtime.errors import ApiError
from serve.schemas import Box, FoundFace, PhotoReport, ProgressAnswer

Order = Literal["taken_at", "exif", "upload"]


@dataclass(frozen=True, kw_only=True)
class SeriesPhoto:
    """One photo of a series with all that was found out about it."""

    index: int
    """Position in the request."""
    photo: Photo
    taken_at: datetime | None
    face: FaceReport | None


def read_times(texts: Sequence[str], num_photos: int) -> list[datetime] | None:
    """Read the ``taken_at`` fields; None when none was sent, or only empty ones.

    Raises:
        ApiError: ``bad_timestamp``.
    """
    if not any(text.strip() for text in texts):
        return None
    if len(texts) != num_photos:
        raise ApiError(
            "bad_timestamp",
            f"{len(texts)} taken_at came with {num_photos} photos; send one for each, in order, or none",
        )
    times = [_time(index, text) for index, text in enumerate(texts)]
    zoned = [time.utcoffset() is not None for time in times]
    if any(zoned) and not all(zoned):
        raise ApiError(
            "bad_timestamp",
            f"taken_at[{zoned.index(True)}] has a time zone and taken_at[{zoned.index(False)}] has none; "
            "send all with one or all without",
        )
    return times


def put_in_order(
    sent: Sequence[datetime] | None, exif: Sequence[datetime | None]
) -> tuple[Order, list[int], list[datetime | None]]:
    """Decide what came first: by the times sent, else by EXIF if every photo has it, else as uploaded.

    Cameras write a time zone or do not; when only some did, the times on the cameras' clocks are compared.

    Returns:
        What decided, the positions in the request from oldest to newest, and the time of each position.
    """
    positions = list(range(len(exif)))
    if sent is not None:
        return "taken_at", sorted(positions, key=sent.__getitem__), list(sent)
    known = [time for time in exif if time is not None]
    if len(known) < len(exif):
        return "upload", positions, list(exif)
    if len({time.utcoffset() is None for time in known}) > 1:
        clocks = [time.replace(tzinfo=None) for time in known]
        return "exif", sorted(positions, key=clocks.__getitem__), list(exif)
    return "exif", sorted(positions, key=known.__getitem__), list(exif)


def check_faces(faces: Sequence[FaceReport | None]) -> None:
    """Refuse a series in which fewer than two photos show a face.

    Raises:
        ApiError: ``no_face`` or ``too_few_photos``.
    """
    num_faces = sum(face is not None for face in faces)
    advice = "send photos that show the whole face from the front, in good light"
    if num_faces == 0:
        raise ApiError("no_face", f"no face was found in any of the {len(faces)} photos; {advice}")
    if num_faces == 1:
        raise ApiError(
            "too_few_photos",
            f"of {len(faces)} photos only one shows a face, at least 2 are needed; {advice}",
        )


def progress_answer(report: ProgressReport, photos: Sequence[SeriesPhoto], order: Order) -> ProgressAnswer:
    """Put together the answer; ``photos`` are oldest first, as the network saw them."""
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


def _time(index: int, text: str) -> datetime:
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise ApiError(
            "bad_timestamp",
            f"taken_at[{index}] is {text[:40]!r}, which is no ISO 8601 time; write 2026-03-01T09:30:00",
        ) from error


def _found_face(face: FaceReport, photo: Photo) -> FoundFace:
    """Say where a face is in the photo as it was sent, not in the reduced one that the face stage saw."""
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
