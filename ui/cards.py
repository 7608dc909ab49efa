"""The cards that take the place of an answer: guide, progress, error."""

import logging
import traceback
from collections.abc import Sequence

from serve.schemas import DISCLAIMER
from ui.client import ApiError
from ui.rendering import render
from ui.uploads import UploadError

logger = logging.getLogger(__name__)

_ERROR_TITLES = {
    "unreadable_image": "This file could not be read",
    "unsupported_type": "This file type is not supported",
    "too_large": "This is too large",
    "too_many_pixels": "This photo is too large",
    "no_face": "No face was found",
    "too_few_photos": "More photos are needed",
    "too_many_photos": "These are too many photos",
    "rate_limited": "The limit of requests is reached",
    "overloaded": "The server is busy",
    "deadline_exceeded": "This took too long",
    "unreachable": "No connection to the server",
}


def guide_card(title: str, points: Sequence[tuple[str, str]]) -> str:
    """Render advice on a good photo; a point is its bold start and the rest of the sentence."""
    return render("guide", title=title, points=points, disclaimer=DISCLAIMER)


def working_card(title: str, text: str) -> str:
    """Render the card of a request in progress."""
    return render("working", title=title, text=text)


def error_card(code: str, message: str) -> str:
    """Render the reason for a missing answer and what to do."""
    return render("error", code=code, title=_ERROR_TITLES.get(code, "There is no answer"), message=message)


def exception_card(error: Exception) -> str:
    """Render an exception for a person.

    An unexpected one is logged by its type and traceback alone: its text could name a photo.
    """
    if isinstance(error, ApiError | UploadError):
        return error_card(error.code, str(error))
    place = "".join(traceback.format_tb(error.__traceback__))
    logger.error("the page failed to answer: %s\n%s", type(error).__name__, place)
    return error_card("unexpected", "Something went wrong on this page. Try again in a minute.")
