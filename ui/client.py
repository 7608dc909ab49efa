"""Call the HTTP API; answers are typed, errors are sentences for people."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from copy import copy
from typing import Self, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from serve.lesion.schemas import LesionAnswer, PixelBox
from serve.progress.schemas import ProgressAnswer
from serve.runtime.forwarded_headers import SECRET_HEADER
from serve.schemas import DEADLINE_HEADER, DEFAULT_DEADLINE_S, MAX_TOP_K, ErrorBody, Models
from ui.rendering import sentence

_Answer = TypeVar("_Answer", bound=BaseModel)
_Files = list[tuple[str, tuple[str, bytes, str]]]

_RETRY_AFTER_S = (1.0, 3.0)  # a short overload passes without the person's help
_UNREACHABLE = "The server does not answer. If it is starting, try again in half a minute."
_DISCONNECTED = "The connection to the server was lost. Try again."
_VERSION_MISMATCH = "The server and this page are of different versions. Restart both of them."

# For a response that is not the API's own, such as a proxy's plain text.
_BY_STATUS = {
    408: ("deadline_exceeded", "The request exceeded its time limit. Try again in a minute."),
    413: ("too_large", "The upload is too large. Choose smaller photos, or fewer of them."),
    502: ("unreachable", "The server was interrupted. Try again."),
    503: ("overloaded", "The server is busy or still starting. Try again in half a minute."),
    504: ("deadline_exceeded", "The request exceeded its time limit. Try again in a minute."),
}


class ApiError(Exception):
    """Report a failed request; ``str(error)`` says what was found, what is needed and what to do.

    Attributes:
        code: one of ``serve.schemas.ErrorCode``; or ``unreachable`` or ``unexpected``, from this client.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class ApiClient:
    """Send requests to the HTTP API; one client per process, for any number of concurrent requests."""

    def __init__(
        self,
        api_url: str,
        *,
        deadline_s: float = DEFAULT_DEADLINE_S,
        key: str | None = None,
        proxy_secret: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Prepare the client without connecting.

        Args:
            api_url: scheme, host and port of the API.
            deadline_s: longest wait for one answer, also sent to the server as the request's deadline.
            key: of the page, for an API with keys.
            proxy_secret: of the trusted proxy; with it the API accepts the address of a visitor.
            transport: replaces the network in tests.
        """
        self._deadline_s = deadline_s
        self._proxy_secret = proxy_secret
        self._visitor: dict[str, str] = {}
        self._http = httpx.AsyncClient(
            base_url=api_url,
            headers={"Authorization": f"Bearer {key}"} if key else None,
            timeout=httpx.Timeout(deadline_s + 5, connect=5),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=32),
            transport=transport,
            trust_env=False,  # ignore HTTP_PROXY: both processes run on one machine
        )

    def for_visitor(self, address: str | None) -> Self:
        """Return this client for the requests of one visitor, with a limit of its own.

        Args:
            address: of the visitor, as the trusted proxy sent it.
        """
        if address is None or self._proxy_secret is None:
            return self
        client = copy(self)
        client._visitor = {SECRET_HEADER: self._proxy_secret, "X-Forwarded-For": address}
        return client

    async def lesion(
        self, photo: bytes, *, top_k: int = MAX_TOP_K, box: PixelBox | None = None
    ) -> LesionAnswer:
        """Classify one photo of a lesion, with a Grad-CAM map.

        Args:
            photo: content of the file.
            top_k: number of diagnoses in the answer; all of them without it.
            box: of the lesion, instead of the one that the server finds.

        Raises:
            ApiError: the request failed.
        """
        parameters = {"explain": "true", "top_k": str(top_k)}
        if box is not None:
            parameters["box"] = ",".join(map(str, box))
        return await self._post("/v1/lesion", LesionAnswer, _parts("file", [photo]), parameters)

    async def progress(self, photos: Sequence[bytes], *, taken_at: Sequence[str] = ()) -> ProgressAnswer:
        """Classify a series of photos of one face, in upload order.

        Args:
            taken_at: ISO 8601 time of each photo; without it the API uses the times in the photos.

        Raises:
            ApiError: the request failed.
        """
        files = _parts("files", photos)
        return await self._post("/v1/progress", ProgressAnswer, files, {}, {"taken_at": list(taken_at)})

    async def models(self) -> Models:
        """Return the loaded networks.

        Raises:
            ApiError: the request failed.
        """
        request = self._http.build_request("GET", "/v1/models", headers=self._visitor)
        return await self._request(request, Models)

    async def stream(
        self,
        method: str,
        path: str,
        *,
        query: str,
        headers: Mapping[str, str],
        content: AsyncIterator[bytes] | None,
    ) -> httpx.Response:
        """Send a request with a body that streams; return the response before its body.

        Args:
            query: of the address, without question mark.
            headers: further ones than those of this client.

        Raises:
            httpx.HTTPError: there is no response.
        """
        address = f"{path}?{query}" if query else path
        request = self._http.build_request(
            method, address, headers={**headers, **self._visitor}, content=content
        )
        return await self._http.send(request, stream=True)

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def _post(
        self,
        path: str,
        kind: type[_Answer],
        files: _Files,
        parameters: dict[str, str],
        fields: dict[str, list[str]] | None = None,
    ) -> _Answer:
        headers = {DEADLINE_HEADER: f"{self._deadline_s:g}", **self._visitor}
        request = self._http.build_request(
            "POST", path, params=parameters, data=fields, files=files, headers=headers
        )
        return await self._request(request, kind)

    async def _request(self, request: httpx.Request, kind: type[_Answer]) -> _Answer:
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
            raise ApiError("unexpected", _VERSION_MISMATCH) from error

    async def _send(self, request: httpx.Request) -> httpx.Response:
        try:
            return await self._http.send(request)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise ApiError("unreachable", _UNREACHABLE) from error
        except httpx.TimeoutException as error:
            waited = f"The server did not answer within {self._deadline_s:.0f} s."
            raise ApiError("deadline_exceeded", f"{waited} Try again in a minute.") from error
        except httpx.HTTPError as error:
            raise ApiError("unreachable", _DISCONNECTED) from error


def _parts(field: str, photos: Sequence[bytes]) -> _Files:
    """Return multipart fields with neutral names: a photo's own name can identify a person."""
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
    return ApiError(detail.code, sentence(detail.message))
