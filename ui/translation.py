"""Translate the page's texts by gettext; there is one language so far, which needs no catalogue."""

import gettext
from functools import lru_cache

from starlette.types import Scope

DEFAULT_LANGUAGE = "en"


@lru_cache
def translations(language: str) -> gettext.NullTranslations:
    """Return the translations of a language.

    Args:
        language: tag such as ``en``.
    """
    return gettext.NullTranslations()


def plural_samples(language: str) -> dict[str, int]:
    """Return a number for each plural category of ``Intl.PluralRules`` that the language has."""
    return {"one": 1, "other": 2}


def language_of(scope: Scope) -> str:
    """Return the language of a request."""
    return DEFAULT_LANGUAGE


def N_(text: str) -> str:  # noqa: N802 (known to the tools of gettext)
    """Mark a text for translation where it is shown."""
    return text
