"""Choose the language of a request and load catalogues of messages."""

import gettext
import io
from functools import lru_cache
from pathlib import Path

from babel import negotiate_locale
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response

DEFAULT_LANGUAGE = "en"
LANGUAGES = ("en", "ar", "de", "es", "hi", "pt")
FULL_STOPS = {"hi": "।"}
"""Of languages that do not end a sentence with a dot."""
VARY = "Accept-Language"
"""Value of ``Vary`` of every response with a message."""
_CATALOGUES = Path(__file__).parents[1] / "locales"
_MAX_HEADER_CHARS = 500


def accepted_language(headers: Headers) -> str:
    """Return the first language that ``Accept-Language`` prefers and that has messages, else English."""
    header = headers.get("accept-language")
    return DEFAULT_LANGUAGE if header is None else _first_known(header[:_MAX_HEADER_CHARS])


def set_language(request: Request, response: Response) -> str:
    """Choose the language of the messages of a response, name it in the headers, and return it."""
    language = accepted_language(request.headers)
    response.headers["Content-Language"] = language
    response.headers.add_vary_header(VARY)
    return language


def accepted_tags(header: str) -> list[str]:
    """Return the language tags of an ``Accept-Language`` header, the preferred one first."""
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


def negotiate(tags: list[str]) -> str:
    """Return the first of the language tags that has messages, else English."""
    return (negotiate_locale(tags, LANGUAGES, sep="-") or DEFAULT_LANGUAGE).lower()


def catalogue_path(folder: Path, language: str) -> Path:
    """Return the path of the messages of a language other than English."""
    return folder / language / "LC_MESSAGES" / "skinserve.po"


def load_translations(folder: Path, language: str) -> gettext.NullTranslations:
    """Load the catalogue of one of ``LANGUAGES``; English is the language of the message ids."""
    if language == DEFAULT_LANGUAGE:
        return gettext.NullTranslations()
    with catalogue_path(folder, language).open("rb") as file:
        messages = read_po(file, locale=language)
    binary = io.BytesIO()
    write_mo(binary, messages)
    binary.seek(0)
    return gettext.GNUTranslations(binary)


@lru_cache
def translations(language: str) -> gettext.NullTranslations:
    """Return the translations of the messages of the API."""
    return load_translations(_CATALOGUES, language)


def N_(text: str) -> str:  # noqa: N802 (known to the tools of gettext)
    """Mark a text for translation where it is shown."""
    return text


def NN_(singular: str, plural: str) -> tuple[str, str]:  # noqa: N802
    """Mark a text with a number for translation by ``ngettext`` where it is shown."""
    return singular, plural


@lru_cache(maxsize=512)
def _first_known(header: str) -> str:
    return negotiate(accepted_tags(header))
