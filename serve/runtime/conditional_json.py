"""JSON responses with an ETag: 304 for clients that have the same body."""

import gzip
import hashlib
from functools import lru_cache

from fastapi import Request, Response

_COMPRESSION_LEVEL = 6


def conditional_json(request: Request, body: bytes) -> Response:
    """Return a JSON body, compressed for clients that accept gzip; 304 without a body if the client has it.

    The compressed bodies of the last calls are cached: every client gets the same body.
    """
    etag = f'W/"{hashlib.sha256(body).hexdigest()[:32]}"'  # weak: the same for both encodings
    headers = {"ETag": etag, "Cache-Control": "private, no-cache", "Vary": "Accept-Encoding"}
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "gzip"
        body = _compressed(body)
    return Response(body, headers=headers, media_type="application/json")


@lru_cache(maxsize=2)
def _compressed(body: bytes) -> bytes:
    return gzip.compress(body, _COMPRESSION_LEVEL)
