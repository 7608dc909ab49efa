"""Horizontal axis of the plot of a series: at the dates of the photos, or at equal steps without them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ui.dates import DateStyle, format_date
from ui.translation import DEFAULT_LANGUAGE

_INSET = 30  # from the frame to the first and the last dot
_CHARACTER_WIDTH = 7
_LABEL_SPACE = 9  # between labels
_NUMBER_WIDTH = 30


@dataclass(frozen=True, kw_only=True)
class Tick:
    """One label of the axis.

    Attributes:
        number: of the photo, from 1, in the order of the answer.
        time: None on an axis of photo numbers.
    """

    x: float
    number: int
    time: datetime | None


@dataclass(frozen=True, kw_only=True)
class TimeAxis:
    """Positions of the photos and labels that do not overlap.

    Attributes:
        x: of each photo, units of the drawing.
        style: of the labels; None on an axis of photo numbers.
        first: time of the first photo; None on an axis of photo numbers.
    """

    x: tuple[float, ...]
    ticks: tuple[Tick, ...]
    style: DateStyle | None
    first: datetime | None


def time_axis(
    times: Sequence[datetime | None], left: float, right: float, language: str = DEFAULT_LANGUAGE
) -> TimeAxis:
    """Lay out the axis.

    Args:
        times: of the photos in the order of the answer; without one of them, the axis has photo numbers.
        left: left edge of the frame, units of the drawing.
        right: right edge of the frame.
        language: of the dates, which need different space.
    """
    known = _comparable(times)
    start, end = left + _INSET, right - _INSET
    is_dated = len(known) == len(times) > 1 and known[-1] > known[0] and known == sorted(known)
    if is_dated:
        fractions = [(time - known[0]) / (known[-1] - known[0]) for time in known]
    else:
        fractions = [index / max(len(times) - 1, 1) for index in range(len(times))]
    x = tuple(round(start + (end - start) * fraction, 1) for fraction in fractions)
    style = _style(known) if is_dated else None
    width = _label_width(known, style, language) if style else _NUMBER_WIDTH
    labelled = _apart(x, width)
    ticks = tuple(
        Tick(x=x[index], number=index + 1, time=times[index] if is_dated else None) for index in labelled
    )
    return TimeAxis(x=x, ticks=ticks, style=style, first=times[0] if is_dated else None)


def _comparable(times: Sequence[datetime | None]) -> list[datetime]:
    """Return the known times, without their zones if only some have one."""
    known = [time for time in times if time is not None]
    if len({time.utcoffset() is None for time in known}) > 1:
        return [time.replace(tzinfo=None) for time in known]
    return known


def _style(times: Sequence[datetime]) -> DateStyle:
    if times[0].year != times[-1].year:
        return "day"
    return "clock" if times[0].date() == times[-1].date() else "month_day"


def _label_width(times: Sequence[datetime], style: DateStyle, language: str) -> int:
    longest = max(len(format_date(time, style, language)) for time in times)
    return _CHARACTER_WIDTH * longest + _LABEL_SPACE


def _apart(x: Sequence[float], width: float) -> list[int]:
    """Return the first index, the last one, and those between whose labels touch no other."""
    if not x:
        return []
    kept = [0]
    for index in range(1, len(x) - 1):
        if x[index] - x[kept[-1]] >= width and x[-1] - x[index] >= width:
            kept.append(index)
    if len(x) > 1 and x[-1] - x[kept[-1]] >= width:
        kept.append(len(x) - 1)
    return kept
