"""JSON that clients may keep: they ask again with its ETag and get 304 if it has not changed."""

import gzip
import hashlib
from functools import lru_cache

from fastapi import Request, Response

_COMPRESSION_LEVEL = 6


def kept_json(request: Request, body: bytes) -> Response:
    """Return a JSON body, compressed for clients that accept gzip; 304 without a body if the client has it.

    The compressed body of the last calls is kept, since the same body is sent to every client.
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
