"""Parse times of entries: ISO 8601, Unix time, forms of MongoDB and Excel."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

_MILLISECONDS_FROM = 1e11
"""Larger timestamps are in milliseconds; in seconds this is the year 5138."""
_EXCEL_DAYS = (20_000, 80_000)
"""Excel's serial numbers of 1954 to 2119; as seconds they would be 1 January 1970."""
_EXCEL_START = datetime(1899, 12, 30, tzinfo=UTC)
_NUMERIC = re.compile(r"(\d{1,2})([./-])(\d{1,2})\2(\d{4})\b(.*)", re.DOTALL)
_DATES = ("%Y-%m-%d", "%Y/%m/%d", "%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y")
_TIMES = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")


def time_of(value: Any) -> datetime | None:
    """Parse a time, by default in UTC; None for other values.

    Accepted are ISO 8601, seconds or milliseconds since 1970, {"$date": ...}, Excel's serial numbers, and
    dates such as 14.3.2019 10:00, 14-Mar-2019 or 3/14/2019 2:05 PM. In 3/4/2019 day and month are ambiguous:
    None.
    """
    if isinstance(value, dict):
        return time_of(value.get("$date"))
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        text = str(value).strip()
        if re.fullmatch(r"\d{9,}(\.\d+)?|[2-7]\d{4}([.,]\d+)?", text):
            return _from_number(float(text.replace(",", ".")))
        if not isinstance(value, str):
            return _from_number(float(value))
        return _from_text(text)
    except (ValueError, OverflowError, OSError):
        return None


def _from_number(number: float) -> datetime:
    if _EXCEL_DAYS[0] <= number < _EXCEL_DAYS[1]:
        return _EXCEL_START + timedelta(seconds=round(number * 86_400))
    return datetime.fromtimestamp(number / 1000 if number > _MILLISECONDS_FROM else number, UTC)


def _from_text(text: str) -> datetime | None:
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        return _from_local_text(text)
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC)


def _from_local_text(text: str) -> datetime | None:
    if numeric := _NUMERIC.fullmatch(text):
        first, separator, second, year, rest = numeric.groups()
        day_first = separator == "." or int(first) > 12
        if not day_first and int(second) <= 12 and first != second:
            return None
        day, month = (first, second) if day_first else (second, first)
        text = f"{year}-{month}-{day}{rest}"
    for format in (date + time for date in _DATES for time in _TIMES):
        try:
            return datetime.strptime(text, format).replace(tzinfo=UTC)
        except ValueError:
            continue
    return None
