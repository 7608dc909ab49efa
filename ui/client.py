"""The HTTP API as seen from the page: typed answers, and errors as sentences for people."""

import asyncio
from collections.abc import Sequence
from typing import TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from serve.schemas import ErrorBody, LesionAnswer, Models, ProgressAnswer

DEADLINE_HEADER = "x-request-timeout-seconds"

_Answer = TypeVar("_Answer", bound=BaseModel)
_Files = list[tuple[str, tuple[str, bytes, str]]]

_RETRY_AFTER_S = (1.0, 3.0)  # busy for a moment is no reason to have a person press the button again
_NOT_THERE = "The server that looks at photos does not answer. If it is starting, try again in half a minute."
_BROKEN_OFF = "The connection to the server that looks at photos broke off. Try again."
_OTHER_VERSION = "The server answers in a form that this page does not know. Restart both of them."

# What a person is told when the answer was not one of the API's own, such as a proxy's plain text.
_BY_STATUS = {
    408: ("deadline_exceeded", "The answer took too long, and the server gave up. Try again in a minute."),
    413: ("too_large", "The upload is too large. Choose smaller photos, or fewer of them."),
    502: ("unreachable", "The server was interrupted while it worked. Try again."),
    503: ("overloaded", "The server is busy or still starting. Try again in half a minute."),
    504: ("deadline_exceeded", "The answer took too long, and the server gave up. Try again in a minute."),
}


class ApiError(Exception):
    """No answer; ``str(error)`` says what was found, what is needed and what to do.

    Attributes:
        code: one of ``serve.schemas.ErrorCode``; or ``unreachable`` or ``unexpected``, as only a client sees.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class ApiClient:
    """Asks the HTTP API. One per process; safe for any number of requests at once."""

    def __init__(
        self, api_url: str, *, deadline_s: float = 60, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        """Prepare, without connecting.

        Args:
            api_url: scheme, host and port of the API.
            deadline_s: longest wait for one answer; the server is told it, and gives up a little earlier.
            transport: where requests go instead of over the network; for tests.
        """
        self._deadline_s = deadline_s
        self._http = httpx.AsyncClient(
            base_url=api_url,
            timeout=httpx.Timeout(deadline_s + 5, connect=5),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=32),
            transport=transport,
            trust_env=False,  # no HTTP_PROXY of the environment between two parts of one machine
        )

    async def lesion(self, photo: bytes, *, top_k: int = 7) -> LesionAnswer:
        """Ask about one photo of a spot, with a heat map.

        Raises:
            ApiError: there is no answer.
        """
        parameters = {"explain": "true", "top_k": str(top_k)}
        return await self._post("/v1/lesion", LesionAnswer, _parts("file", [photo]), parameters)

    async def progress(self, photos: Sequence[bytes]) -> ProgressAnswer:
        """Ask about a series of photos of one face, in the order in which they were added.

        Raises:
            ApiError: there is no answer.
        """
        return await self._post("/v1/progress", ProgressAnswer, _parts("files", photos), {})

    async def models(self) -> Models:
        """Ask which networks answer.

        Raises:
            ApiError: there is no answer.
        """
        return await self._ask(self._http.build_request("GET", "/v1/models"), Models)

    async def close(self) -> None:
        """Drop the open connections."""
        await self._http.aclose()

    async def _post(
        self, path: str, kind: type[_Answer], files: _Files, parameters: dict[str, str]
    ) -> _Answer:
        headers = {DEADLINE_HEADER: f"{self._deadline_s:g}"}
        return await self._ask(
            self._http.build_request("POST", path, params=parameters, files=files, headers=headers), kind
        )

    async def _ask(self, request: httpx.Request, kind: type[_Answer]) -> _Answer:
        for wait_s in _RETRY_AFTER_S:
            response = await self._send(request)
            if response.status_code != 503:
                break
            await asyncio.sleep(wait_s)
        else:
            response = await self._send(request)
        if not response.is_success:
            raise _error_of(response)
        try:
            return kind.model_validate_json(response.content)
        except ValidationError as error:
            raise ApiError("unexpected", _OTHER_VERSION) from error

    async def _send(self, request: httpx.Request) -> httpx.Response:
        try:
            return await self._http.send(request)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise ApiError("unreachable", _NOT_THERE) from error
        except httpx.TimeoutException as error:
            waited = f"No answer came within {self._deadline_s:.0f} s."
            raise ApiError("deadline_exceeded", f"{waited} Try again in a minute.") from error
        except httpx.HTTPError as error:
            raise ApiError("unreachable", _BROKEN_OFF) from error


def _parts(field: str, photos: Sequence[bytes]) -> _Files:
    """Multipart fields with neutral names: a photo's own name can tell who is on it."""
    return [
        (field, (f"photo-{index}", photo, "application/octet-stream")) for index, photo in enumerate(photos)
    ]


def _error_of(response: httpx.Response) -> ApiError:
    try:
        detail = ErrorBody.model_validate_json(response.content).error
    except ValidationError:
        status = response.status_code
        unknown = ("unexpected", f"The server answered with status {status}. Try again in a minute.")
        return ApiError(*_BY_STATUS.get(status, unknown))
    return ApiError(detail.code, _as_sentence(detail.message))


def _as_sentence(message: str) -> str:
    """The API writes ``the photo is empty; send the file itself``: a sentence has a capital and an end."""
    end = "" if message.endswith((".", "!", "?")) else "."
    return f"{message[:1].upper()}{message[1:]}{end}"
