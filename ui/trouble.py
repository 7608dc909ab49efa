"""From whatever went wrong to a card that says what to do: no handler of the page lets an error through."""

import logging

from ui.cards import error_card
from ui.client import ApiError
from ui.uploads import UploadGoneError

logger = logging.getLogger(__name__)


def trouble_card(error: Exception) -> str:
    """Explain an error to a person; one that nobody expected goes to the log, which never names a photo."""
    if isinstance(error, ApiError):
        return error_card(error.code, str(error))
    if isinstance(error, UploadGoneError):
        return error_card("gone", str(error))
    logger.error("the page failed to answer", exc_info=error)
    return error_card(
        "unexpected", "Something went wrong on this page. Try again; if it happens twice, tell who runs it."
    )
