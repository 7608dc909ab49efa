"""Time order of the photos of a series."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from serve.runtime.errors import ApiError

Order = Literal["taken_at", "exif", "upload"]


def read_times(texts: Sequence[str], num_photos: int) -> list[datetime] | None:
    """Parse the ``taken_at`` fields; return None if all are missing or empty.

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


def sort_photos(
    sent: Sequence[datetime] | None, exif: Sequence[datetime | None]
) -> tuple[Order, list[int], list[datetime | None]]:
    """Sort photos by the times sent, else by EXIF if every photo has it, else as uploaded.

    If only some EXIF times have a time zone, the zones are ignored.

    Returns:
        Source of the order; positions in the request, oldest first; time of each position.
    """
    positions = list(range(len(exif)))
    if sent is not None:
        return "taken_at", sorted(positions, key=sent.__getitem__), list(sent)
    known = [time for time in exif if time is not None]
    if len(known) < len(exif):
        return "upload", positions, list(exif)
    if len({time.utcoffset() is None for time in known}) > 1:
        known = [time.replace(tzinfo=None) for time in known]
    return "exif", sorted(positions, key=known.__getitem__), list(exif)


def _time(index: int, text: str) -> datetime:
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise ApiError(
            "bad_timestamp",
            f"taken_at[{index}] is {text[:40]!r}, which is no ISO 8601 time; write 2026-03-01T09:30:00",
        ) from error
