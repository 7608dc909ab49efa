"""Errors of the page's own routes, with the error body of the API."""

from collections.abc import Mapping

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from serve.runtime.translated_errors import ErrorResponse
from serve.schemas import ErrorCode, ErrorDetail

_CLIENT_CLOSED_REQUEST = 499
"""Status of nginx, for logs only."""


class PageError(Exception):
    """Reject a request.

    Attributes:
        status: of HTTP.
        headers: of the response.
    """

    def __init__(
        self, status: int, code: ErrorCode, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code: ErrorCode = code
        self.headers = dict(headers or {})


def error_response(error: PageError) -> JSONResponse:
    """Return the response with the error body of the API."""
    return ErrorResponse(ErrorDetail(code=error.code, message=str(error)), error.status, error.headers)


def add_error_handler(site: FastAPI) -> None:
    """Send every ``PageError`` of the routes as its response; a client that left gets none."""

    async def handle(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, PageError)
        return error_response(error)

    async def leave(_: Request, error: Exception) -> Response:
        return Response(status_code=_CLIENT_CLOSED_REQUEST)

    site.add_exception_handler(PageError, handle)
    site.add_exception_handler(ClientDisconnect, leave)
