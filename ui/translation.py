"""Choose the language of a page and load its catalogue of messages."""

import gettext
from functools import lru_cache
from pathlib import Path
from urllib.parse import parse_qs

from babel import Locale
from starlette.datastructures import Headers
from starlette.types import Scope

from serve.runtime import languages
from serve.runtime.languages import DEFAULT_LANGUAGE as DEFAULT_LANGUAGE
from serve.runtime.languages import LANGUAGES as LANGUAGES
from serve.runtime.languages import N_ as N_
from serve.runtime.languages import NN_ as NN_

LOCALES = Path(__file__).with_name("locales")


@lru_cache
def translations(language: str) -> gettext.NullTranslations:
    """Return the translations of the page's messages, then those of the API's."""
    found = languages.load_translations(LOCALES, language)
    found.add_fallback(languages.translations(language))
    return found


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
    accepted = languages.accepted_tags(Headers(scope=scope).get("accept-language", ""))
    return languages.negotiate([*chosen, *accepted])
