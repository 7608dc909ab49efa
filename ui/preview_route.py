"""``POST preview``: draw a photo that the browser cannot show; it stays in memory."""

import asyncio
from dataclasses import asdict

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from ui.errors import PageError
from ui.preview import make_preview
from ui.request_body import read_body

MAX_SIDE_PX = 900
_MAX_REQUESTS = 16
"""Bodies in memory at once; ``make_preview`` decodes few of them at a time."""


def add_preview_route(site: FastAPI, *, max_photo_bytes: int) -> None:
    """Add the route.

    Args:
        max_photo_bytes: larger bodies get 413.
    """
    num_requests = 0

    @site.post("/preview")
    async def preview(request: Request) -> JSONResponse:
        nonlocal num_requests
        if num_requests >= _MAX_REQUESTS:
            raise PageError(503, "overloaded", "too many previews are drawn; try again", {"Retry-After": "2"})
        num_requests += 1
        try:
            photo = await read_body(request, max_bytes=max_photo_bytes)
            drawn = await asyncio.to_thread(make_preview, photo, max_side_px=MAX_SIDE_PX)
        finally:
            num_requests -= 1
        if drawn is None:
            raise PageError(422, "unreadable_image", "the photo cannot be drawn; the API says why")
        return JSONResponse(asdict(drawn))
