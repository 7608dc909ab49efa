"""Render the page's HTML from the Jinja templates; every value is escaped."""

import math
from functools import lru_cache, partial
from pathlib import Path

from babel import Locale
from babel.lists import format_list
from babel.numbers import format_percent as babel_percent
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from serve.schemas import PHOTO_FORMAT_NAMES, PHOTO_FORMATS
from ui.dates import format_date
from ui.translation import DEFAULT_LANGUAGE, direction, language_names, plural_samples, translations

TEMPLATES = Path(__file__).with_name("templates")


def render(template: str, language: str = DEFAULT_LANGUAGE, /, **values: object) -> str:
    """Render ``templates/<template>.html.jinja`` in a language."""
    return _environment(language).get_template(f"{template}.html.jinja").render(values)


def percent(probability: float, *, limit: float | None = None, language: str = DEFAULT_LANGUAGE) -> str:
    """Format a probability; it never claims certainty: ``<1%`` and ``>99%`` at the ends.

    Args:
        limit: threshold of a verdict. Rounding never carries a probability over it, and
            ``percent(limit, limit=limit)`` is how the threshold itself is shown beside such probabilities.
    """
    return format_percent(whole_percent(probability, limit=limit), language)


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


def format_percent(whole: int, language: str = DEFAULT_LANGUAGE) -> str:
    """Format a result of ``whole_percent``."""
    sign, shown = {0: ("<", 1), 100: (">", 99)}.get(whole, ("", whole))
    return exact_percent(shown, language, sign=sign)


def exact_percent(value: float, language: str, *, decimals: int = 0, sign: str = "") -> str:
    """Format a percentage, such as ``12.5%`` and in German ``12,5 %``.

    Args:
        sign: ``<`` or ``>`` before the number.
    """
    pattern = Locale.parse(language).percent_formats[None].pattern
    exact = pattern.replace("##0", f"##0.{'0' * decimals}") if decimals else pattern
    text = sign + babel_percent(value / 100, exact, locale=language)
    if direction(language) == "rtl":  # which would mirror the sign and put "%" before the number
        return f"\N{LEFT-TO-RIGHT ISOLATE}{text}\N{POP DIRECTIONAL ISOLATE}"
    return text


def css_percent(fraction: float) -> str:
    """Format a fraction as a length in CSS: ``12.5%``."""
    return f"{100 * fraction:.3f}".rstrip("0").rstrip(".") + "%"


def sentence(message: str) -> str:
    """Add a capital and a full stop to a message of the API."""
    end = "" if message.endswith((".", "!", "?", "।", "؟")) else "."
    return f"{message[:1].upper()}{message[1:]}{end}"


def _format_names(language: str) -> str:
    """Return the file formats of photos, such as ``JPEG, PNG or HEIC``."""
    if language == DEFAULT_LANGUAGE:
        return PHOTO_FORMAT_NAMES
    return format_list([one.name for one in PHOTO_FORMATS], style="or", locale=language)


@lru_cache
def _environment(language: str) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    environment.install_gettext_translations(translations(language), newstyle=True)  # pyright: ignore[reportAttributeAccessIssue]: added by the extension
    environment.globals |= {
        "language": language,
        "direction": direction(language),
        "language_names": language_names(),
        "plural_samples": plural_samples(language),
        "formats": _format_names(language),
        "format_date": partial(format_date, language=language),
    }
    environment.filters["translate"] = translations(language).gettext  # of texts that Python marks by N_
    environment.filters["percent"] = partial(percent, language=language)
    environment.filters |= {"css_percent": css_percent, "sentence": sentence}
    return environment
