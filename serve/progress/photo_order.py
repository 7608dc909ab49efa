"""Time order of the photos of a series."""

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import Literal

from serve.runtime.errors import ApiError
from serve.schemas import Reason

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

    If only some EXIF times have a time zone, the zones are ignored: two photos are then wrong by at most the
    distance between the zones, while upload order can be wrong by years.

    Returns:
        Source of the order; positions in the request, oldest first; time of each position.
    """
    positions = list(range(len(exif)))
    if sent is not None:
        return "taken_at", sorted(positions, key=sent.__getitem__), list(sent)
    known = [time for time in exif if time is not None]
    if len(known) < len(exif):
        return "upload", positions, list(exif)
    return "exif", sorted(positions, key=_comparable(known).__getitem__), list(exif)


def find_missing_times(order: Order, times: Sequence[datetime | None]) -> list[Reason]:
    """Return a reason if only some photos record a time, so that upload order counts.

    Args:
        times: of the photos in the order of the request.
    """
    known = [number for number, time in enumerate(times, 1) if time is not None]
    unknown = [number for number, time in enumerate(times, 1) if time is None]
    if order != "upload" or not known or not unknown:
        return []
    recorded = _comparable([time for time in times if time is not None])
    swapped = next((step for step, pair in enumerate(pairwise(recorded)) if pair[0] > pair[1]), None)
    found = f"{name_photos(unknown)} {'records' if len(unknown) == 1 else 'record'} no capture time"
    if swapped is None:
        effect = "so the photos count as uploaded oldest first"
    else:
        effect = (
            f"and photo {known[swapped + 1]} was taken before photo {known[swapped]}, although the photos "
            "count as uploaded oldest first: the answer may be reversed"
        )
    return [Reason(code="times_missing", message=f"{found}, {effect}; send taken_at for each photo")]


def name_photos(numbers: Sequence[int]) -> str:
    """Return text such as ``photos 1, 2 and 4``."""
    *others, last = map(str, numbers)
    return f"photos {', '.join(others)} and {last}" if others else f"photo {last}"


def _comparable(times: Sequence[datetime]) -> list[datetime]:
    """Remove the time zones if only some times have one."""
    if len({time.utcoffset() is None for time in times}) > 1:
        return [time.replace(tzinfo=None) for time in times]
    return list(times)


def _time(index: int, text: str) -> datetime:
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise ApiError(
            "bad_timestamp",
            f"taken_at[{index}] is {text[:40]!r}, which is no ISO 8601 time; write 2026-03-01T09:30:00",
        ) from error
