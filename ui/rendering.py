"""Render the page's HTML from the Jinja templates; every value is escaped."""

import math
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATES = Path(__file__).with_name("templates")


def render(template: str, **values: object) -> str:
    """Render ``templates/<template>.html.jinja``."""
    return _ENVIRONMENT.get_template(f"{template}.html.jinja").render(values)


def percent(probability: float, *, limit: float | None = None) -> str:
    """Format a probability; it never claims certainty: ``<1%`` and ``>99%`` at the ends.

    Args:
        limit: threshold of a verdict. Rounding never carries a probability over it, and
            ``percent(limit, limit=limit)`` is how the threshold itself is shown beside such probabilities.
    """
    return format_percent(whole_percent(probability, limit=limit))


def whole_percent(probability: float, *, limit: float | None = None) -> int:
    """Round a probability to percent; 0 stands for less than 1%, and 100 for more than 99%."""
    if probability < 0.01:
        return 0
    if probability > 0.99:
        return 100
    nearest = round(100 * probability)
    if limit is None:
        return nearest
    first = math.ceil(round(100 * limit, 6))  # 100 * 0.55 is a little more than 55
    return max(nearest, first) if probability >= limit else min(nearest, first - 1)


def format_percent(whole: int) -> str:
    """Format a result of ``whole_percent``."""
    return {0: "<1%", 100: ">99%"}.get(whole, f"{whole}%")


def in_minutes(seconds: float) -> str:
    """Format a time, rounded up to minutes: ``10 minutes``."""
    minutes = math.ceil(seconds / 60)
    return "1 minute" if minutes == 1 else f"{minutes} minutes"


def css_percent(fraction: float) -> str:
    """Format a fraction as a length in CSS: ``12.5%``."""
    return f"{100 * fraction:.3f}".rstrip("0").rstrip(".") + "%"


def sentence(message: str) -> str:
    """Add a capital and a full stop to a message of the API."""
    end = "" if message.endswith((".", "!", "?")) else "."
    return f"{message[:1].upper()}{message[1:]}{end}"


_ENVIRONMENT = Environment(
    loader=FileSystemLoader(TEMPLATES),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters |= {"percent": percent, "css_percent": css_percent, "sentence": sentence}
