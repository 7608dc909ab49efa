"""Error responses in the language of the request. No Ray and no torch: ``ui/`` imports this too."""

import re
from collections.abc import Mapping
from datetime import timedelta

from babel.dates import format_timedelta
from babel.lists import format_list
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from serve.runtime.languages import DEFAULT_LANGUAGE, N_, VARY, accepted_language, translations
from serve.schemas import PHOTO_FORMATS, ErrorBody, ErrorCode, ErrorDetail

ERROR_TEXTS: dict[ErrorCode, str] = {
    "unreadable_image": N_(
        "This file cannot be read as a photo. It may be damaged or incomplete. Choose another photo, or save "
        "it again as JPEG."
    ),
    "unsupported_type": N_("Files of this type are not supported. Choose a photo: %(formats)s."),
    "too_large": N_("The upload is too large. Choose smaller photos, or fewer of them."),
    "too_many_pixels": N_("The photo has too many pixels. Choose a smaller version of it."),
    "no_face": N_(
        "No photo shows a face. Choose photos that show the whole face from the front, in good light."
    ),
    "too_few_photos": N_("There are too few photos. Add photos of the same face from different days."),
    "too_many_photos": N_("There are too many photos. Leave some out."),
    "bad_timestamp": N_("A date cannot be used. Correct the dates of the photos."),
    "rate_limited": N_("These were too many requests."),
    "overloaded": N_("The server is busy or still starting."),
    "model_unavailable": N_("The model is not available at the moment. Try again in a minute."),
    "feedback_quota": N_(
        "The limit of feedback from your address or key, or from all clients together, is reached. Delete "
        "feedback by its receipt, or ask the operator of this server."
    ),
    "feedback_unavailable": N_("This server cannot store feedback at the moment. Try again in a minute."),
    "deadline_exceeded": N_("The request exceeded its time limit. Try again in a minute."),
    "internal": N_("Something went wrong on the server. Try again in a minute."),
    "unauthorized": N_(
        "This request needs a login or a key. Open the page again, or ask the operator of this server."
    ),
    "forbidden": N_("The server does not allow this request. Ask the operator of this server."),
    "not_found": N_("Nothing was found for this address, name or receipt. Check it letter by letter."),
    "invalid_request": N_("The request is not valid. Message of the server, in English: %(message)s"),
}
"""By code; messages of the other codes are for programmers and stay English."""
_WAIT = N_("Try again %(when)s.")
_PHOTO = re.compile(r"photo (\d+): ")


class ErrorResponse(JSONResponse):
    """Send an error, with a message in the language that the request accepts."""

    def __init__(self, detail: ErrorDetail, status: int, headers: Mapping[str, str]) -> None:
        own = {"Content-Language": DEFAULT_LANGUAGE, "Vary": VARY}
        super().__init__(ErrorBody(error=detail).model_dump(), status, {**own, **headers})
        self._detail = detail

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the message, translated if the request prefers another language than English."""
        language = accepted_language(Headers(scope=scope))
        wait = self.headers.get("retry-after")
        detail = translate_error(self._detail, language, retry_after=wait)
        if detail is self._detail:
            return await super().__call__(scope, receive, send)
        headers = {**self.headers, "content-language": language}
        del headers["content-length"]
        body = ErrorBody(error=detail).model_dump()
        await JSONResponse(body, self.status_code, headers)(scope, receive, send)


def translate_error(detail: ErrorDetail, language: str, *, retry_after: str | None = None) -> ErrorDetail:
    """Return an error with a text for its code, in English the error itself.

    The number of a photo stays, and the wait is in the text; further numbers are in English only.

    Args:
        retry_after: header of the response, in seconds.
    """
    if language == DEFAULT_LANGUAGE or detail.code not in ERROR_TEXTS:
        return detail
    t = translations(language)
    values = {"formats": _formats(language), "message": detail.message}
    text = t.gettext(ERROR_TEXTS[detail.code]) % values
    if detail.code in ("rate_limited", "overloaded"):
        wait = timedelta(seconds=int(retry_after or 30))
        text += " " + t.gettext(_WAIT) % {"when": format_timedelta(wait, add_direction=True, locale=language)}
    if photo := _PHOTO.match(detail.message):
        text = t.gettext("Photo %(number)s: %(text)s") % {"number": photo[1], "text": text}
    photos = [
        photo.model_copy(
            update={
                "message": translate_error(
                    ErrorDetail(code=photo.code, message=photo.message), language
                ).message
            }
        )
        for photo in detail.photos or ()
    ]
    return ErrorDetail(code=detail.code, message=text, photos=photos or None)


def _formats(language: str) -> str:
    return format_list([one.name for one in PHOTO_FORMATS], style="or", locale=language)
