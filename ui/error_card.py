"""From whatever went wrong to a card that says what to do: no handler of the page lets an error through."""

import logging
import traceback

from ui.client import ApiError
from ui.html_parts import error_card
from ui.uploads import UploadError

logger = logging.getLogger(__name__)


def trouble_card(error: Exception) -> str:
    """Explain an error to a person.

    One that nobody expected goes to the log by its kind and place alone: its text could name a photo.
    """
    if isinstance(error, ApiError | UploadError):
        return error_card(error.code, str(error))
    place = "".join(traceback.format_tb(error.__traceback__))
    logger.error("the page failed to answer: %s\n%s", type(error).__name__, place)
    return error_card("unexpected", "Something went wrong on this page. Try again in a minute.")
