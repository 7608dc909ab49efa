"""Check query parameters; read request bodies into memory, within limits and never to a disk."""

import asyncio
from collections.abc import AsyncIterator, Callable

from starlette.requests import Request

from models.images import PhotoError
from models.limits import (
    MAX_FORM_OVERHEAD_BYTES,
    MAX_UPLOAD_PAUSE_S,
    MIN_UPLOAD_BYTES_PER_S,
    PHOTO_FORMAT_NAMES,
)
from models.rounded_text import ceil_text
from serve.runtime.admission import RequestSlot
from serve.runtime.content_encoding import new_decoder
from serve.runtime.decode_pool import DecodePool
from serve.runtime.errors import ApiError
from serve.runtime.json_photo import max_json_bytes, read_json_photo
from serve.runtime.multipart import Form, FormParser, FormSpec


async def reject_unknown_parameters(request: Request) -> None:
    """Reject query parameters that the OpenAPI document does not list for the route.

    Raises:
        ApiError: ``invalid_request``.
    """
    if not request.query_params:
        return
    operation = request.app.openapi()["paths"][request.scope["route"].path][request.method.lower()]
    known = [parameter["name"] for parameter in operation.get("parameters", [])]
    unknown = [name for name in request.query_params if name not in known]
    if unknown:
        need = f"known are {', '.join(known)}" if known else "this route has none; leave it out"
        raise ApiError("invalid_request", f"query parameter {unknown[0][:40]!r} is unknown; {need}")


def media_type(request: Request) -> str:
    """Return the content type in lower case without parameters; empty if missing."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_photo(
    request: Request, slot: RequestSlot, pool: DecodePool, *, max_bytes: int
) -> bytes | PhotoError:
    """Read the photo of a request: raw body, field ``file`` of a form, or JSON.

    Args:
        pool: decodes JSON.
        max_bytes: of the photo.

    Returns:
        The file, or the error of a file in a form or in JSON that exceeds ``max_bytes``.

    Raises:
        ApiError: ``unsupported_type``, ``too_large``, ``too_many_photos`` or ``invalid_request``.
    """
    kind = media_type(request)
    if kind == "multipart/form-data":
        spec = FormSpec(
            file_field="file",
            max_files=1,
            max_file_bytes=max_bytes,
            max_bytes=max_bytes + MAX_FORM_OVERHEAD_BYTES,
        )
        files = (await read_form(request, slot, spec)).files
        if not files:
            raise ApiError("invalid_request", "the form has no 'file'; send the photo under that name")
        return files[0]
    if kind == "application/json":
        body = await read_body(request, slot, max_bytes=max_json_bytes(max_bytes))
        slot.reserve_bytes(len(body))  # the decoded photo, and text on the way
        return await pool.run(read_json_photo, body, max_bytes=max_bytes)
    _check_photo_type(kind)
    body = await read_body(request, slot, max_bytes=max_bytes)
    if not body:
        raise ApiError("invalid_request", "the body is empty; send a photo")
    return body


def _check_photo_type(kind: str) -> None:
    if not (kind.startswith("image/") or kind in ("application/octet-stream", "")):
        raise ApiError(
            "unsupported_type",
            f"the body is {kind!r}; send a {PHOTO_FORMAT_NAMES} photo as image/*, as "
            "application/octet-stream, without a content type, as 'file' of a form, or as application/json "
            '{"image": base64}',
        )


async def read_body(request: Request, slot: RequestSlot, *, max_bytes: int) -> bytes:
    """Read a whole body and decode its ``Content-Encoding``.

    Raises:
        ApiError: ``too_large``, by Content-Length before reading or while reading; ``deadline_exceeded``,
            sent too slowly; ``overloaded``; ``unsupported_type`` or ``invalid_request``, of the encoding.
    """
    chunks: list[bytes] = []
    await _receive(request, slot, max_bytes, chunks.append)
    return b"".join(chunks)


async def read_form(request: Request, slot: RequestSlot, spec: FormSpec) -> Form:
    """Read a multipart form.

    Raises:
        ApiError: ``unsupported_type``, ``too_many_photos``, ``invalid_request``, and those of ``read_body``.
    """
    parser = FormParser(spec, request.headers.get("content-type", ""))
    await _receive(request, slot, spec.max_bytes, parser.write)
    return parser.finish()


async def _receive(
    request: Request, slot: RequestSlot, max_bytes: int, sink: Callable[[bytes], object]
) -> None:
    """Pass the pieces of a body to ``sink``, and reserve memory for them."""
    async for piece in receive_pieces(request, max_bytes=max_bytes):
        slot.reserve_bytes(len(piece))
        sink(piece)


async def receive_pieces(request: Request, *, max_bytes: int) -> AsyncIterator[bytes]:
    """Yield a decoded body piece by piece; reject a slow one, which would occupy its slot.

    Raises:
        ApiError: as ``read_body``; no memory is reserved.
    """
    decoder = new_decoder(request)
    content_length = request.headers.get("content-length", "")
    if content_length.isdigit():
        _check_size(int(content_length), max_bytes)
    received = decoded = 0
    start = asyncio.get_running_loop().time()
    chunks = aiter(request.stream())
    while True:
        try:
            async with asyncio.timeout_at(start + MAX_UPLOAD_PAUSE_S + received / MIN_UPLOAD_BYTES_PER_S):
                chunk = await anext(chunks, None)
        except TimeoutError as error:
            seconds = asyncio.get_running_loop().time() - start
            message = f"{received} bytes of the body arrived in {seconds:.0f} s"
            raise ApiError(
                "deadline_exceeded", f"{message}; send at least {MIN_UPLOAD_BYTES_PER_S} bytes per second"
            ) from error
        if chunk is None:
            break
        received += len(chunk)
        for index, piece in enumerate(decoder.decode(chunk)):
            if index:
                await asyncio.sleep(0)  # a decompression bomb does not delay other requests
            decoded += len(piece)
            _check_size(decoded, max_bytes)
            yield piece
    decoder.finish()


def _check_size(num_bytes: int, max_bytes: int) -> None:
    if num_bytes > max_bytes:
        raise ApiError(
            "too_large",
            f"the request has {ceil_text(num_bytes / 1e6, 1)} MB or more, at most {max_bytes / 1e6:g} MB "
            "are allowed; send smaller or fewer photos",
        )
