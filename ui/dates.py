"""Format dates for people."""

from datetime import datetime
from typing import Literal

from babel.dates import format_skeleton

from ui.translation import DEFAULT_LANGUAGE

DateStyle = Literal["day", "month_day", "clock", "year"]
_SKELETONS: dict[DateStyle, str] = {"day": "yMMMd", "month_day": "MMMd", "clock": "Hm"}


def format_date(time: datetime, style: DateStyle = "day", language: str = DEFAULT_LANGUAGE) -> str:
    """Format a time in its own zone, in English such as ``Mar 9, 2026``, ``Mar 9``, ``18:30`` or ``2026``."""
    if style == "year":
        return str(time.year)
    return format_skeleton(_SKELETONS[style], time.replace(tzinfo=None), locale=language)
