"""Choose the language of a request and load its catalogue of messages."""

import gettext
import io
from functools import lru_cache
from pathlib import Path
from urllib.parse import parse_qs

from babel import Locale, negotiate_locale
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from starlette.datastructures import Headers
from starlette.types import Scope

DEFAULT_LANGUAGE = "en"
LANGUAGES = ("en", "ar", "de", "es", "hi", "pt")
LOCALES = Path(__file__).with_name("locales")
_MAX_HEADER_CHARS = 500


def catalogue(language: str) -> Path:
    """Return the path of the messages of a language other than English."""
    return LOCALES / language / "LC_MESSAGES" / "skinserve.po"


@lru_cache
def translations(language: str) -> gettext.NullTranslations:
    """Return the translations of one of ``LANGUAGES``; English is the language of the message ids."""
    if language == DEFAULT_LANGUAGE:
        return gettext.NullTranslations()
    with catalogue(language).open("rb") as file:
        messages = read_po(file, locale=language)
    binary = io.BytesIO()
    write_mo(binary, messages)
    binary.seek(0)
    return gettext.GNUTranslations(binary)


@lru_cache
def plural_samples(language: str) -> dict[str, int]:
    """Return a number for each plural category of ``Intl.PluralRules`` that the language has."""
    rule = Locale.parse(language).plural_form
    samples: dict[str, int] = {}
    for number in (*range(1, 200), 0, 1_000_000):  # Spanish and Portuguese have "many" for millions
        samples.setdefault(rule(number), number)
    return samples


def direction(language: str) -> str:
    """Return the direction of writing for the attribute ``dir``: ``ltr`` or ``rtl``."""
    return Locale.parse(language).text_direction


def language_names() -> dict[str, str]:
    """Return the name of each language in itself: ``{"en": "English", "de": "Deutsch", ...}``."""
    found = {language: Locale.parse(language).get_display_name() or language for language in LANGUAGES}
    return {language: name[:1].upper() + name[1:] for language, name in found.items()}


def language_of(scope: Scope) -> str:
    """Return the language of a request: ``?lang=`` of its address, else the first known one it accepts."""
    chosen = parse_qs(scope["query_string"].decode("latin-1")).get("lang", [])
    accepted = _accepted(Headers(scope=scope).get("accept-language", ""))
    return (negotiate_locale([*chosen, *accepted], LANGUAGES, sep="-") or DEFAULT_LANGUAGE).lower()


def N_(text: str) -> str:  # noqa: N802 (known to the tools of gettext)
    """Mark a text for translation where it is shown."""
    return text


def NN_(singular: str, plural: str) -> tuple[str, str]:  # noqa: N802
    """Mark a text with a number for translation by ``ngettext`` where it is shown."""
    return singular, plural


def _accepted(header: str) -> list[str]:
    """Return the tags of an ``Accept-Language`` header, the preferred one first."""
    weighted = []
    for part in header[:_MAX_HEADER_CHARS].split(","):
        tag, _, parameter = part.strip().partition(";")
        try:
            weight = float(parameter.strip().removeprefix("q=") or 1)
        except ValueError:
            continue
        if tag and 0 < weight <= 1:
            weighted.append((weight, tag.strip()))
    return [tag for _, tag in sorted(weighted, key=lambda pair: -pair[0])]
