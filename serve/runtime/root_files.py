"""Files that browsers and crawlers fetch from the root of a host."""

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse, Response

FAVICON = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32" fill="none" stroke="#0b6a6a" stroke-width="3">
  <circle cx="16" cy="16" r="14"/><circle cx="16" cy="16" r="7" fill="#0b6a6a"/>
</svg>
"""
"""The icon of the page; a test compares the two."""
_CACHED = {"Cache-Control": "public, max-age=86400"}

router = APIRouter(include_in_schema=False)


@router.get("/favicon.ico")
async def favicon() -> Response:
    """Return the icon, which browsers request beside ``/docs``."""
    return Response(FAVICON, media_type="image/svg+xml", headers=_CACHED)


@router.get("/robots.txt")
async def robots() -> PlainTextResponse:
    """Exclude the whole host from search engines."""
    return PlainTextResponse("User-agent: *\nDisallow: /\n", headers=_CACHED)
