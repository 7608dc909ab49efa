"""Format dates for people."""

from datetime import datetime
from typing import Literal

DateStyle = Literal["day", "month_day", "clock", "year"]
_FORMATS: dict[DateStyle, str] = {"day": "%d %b %Y", "month_day": "%d %b", "clock": "%H:%M", "year": "%Y"}


def format_date(time: datetime, style: DateStyle = "day") -> str:
    """Format a time in its own zone: ``09 Mar 2026``, ``09 Mar``, ``18:30`` or ``2026``."""
    return time.strftime(_FORMATS[style])
