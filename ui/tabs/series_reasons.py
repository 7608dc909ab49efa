"""Sentences for the reasons of an answer for a series."""

from serve.progress.reason_texts import reason_text
from serve.progress.schemas import ProgressAnswer
from serve.schemas import Reason
from ui.rendering import sentence
from ui.translation import DEFAULT_LANGUAGE


def series_reason(reason: Reason, answer: ProgressAnswer, language: str = DEFAULT_LANGUAGE) -> str:
    """Return the message of the API in English, else a text in the language of the page."""
    return sentence(reason.message if language == DEFAULT_LANGUAGE else reason_text(reason, answer, language))
