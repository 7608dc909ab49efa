"""Check query parameters; read request bodies into memory, within limits and never to a disk."""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from models.images import PhotoError, photo_too_large
from models.limits import (
    MAX_FORM_FIELD_BYTES,
    MAX_FORM_OVERHEAD_BYTES,
    MAX_UPLOAD_PAUSE_S,
    MIN_UPLOAD_BYTES_PER_S,
    PHOTO_FORMAT_NAMES,
)
from serve.runtime.admission import RequestSlot
from serve.runtime.errors import ApiError


@dataclass
class Form:
    """Hold the files and text fields of a multipart form."""

    files: list[bytes | PhotoError] = field(default_factory=list)
    """In the order of the request; an error in place of a file over its limit."""
    fields: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class FormSpec:
    """Define the allowed fields and sizes of a form."""

    file_field: str
    text_fields: Collection[str] = ()
    max_files: int
    max_file_bytes: int
    max_bytes: int


async def reject_unknown_parameters(request: Request) -> None:
    """Reject query parameters that the OpenAPI document does not list for the route.

    Raises:
        ApiError: ``invalid_request``.
    """
    if not request.query_params:
        return
    path = request.url.path.removeprefix(request.scope.get("root_path", ""))
    operation = request.app.openapi()["paths"][path][request.method.lower()]
    known = [parameter["name"] for parameter in operation.get("parameters", [])]
    unknown = [name for name in request.query_params if name not in known]
    if unknown:
        need = f"known are {', '.join(known)}" if known else "this route has none; leave it out"
        raise ApiError("invalid_request", f"query parameter {unknown[0][:40]!r} is unknown; {need}")


def media_type(request: Request) -> str:
    """Return the content type in lower case without parameters; empty if missing."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_photo(request: Request, slot: RequestSlot, *, max_bytes: int) -> bytes | PhotoError:
    """Read the one photo of a request: the raw body, or the field ``file`` of a form.

    Returns:
        The file, or the error of a file in a form that exceeds ``max_bytes``.

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
    if not (kind.startswith("image/") or kind in ("application/octet-stream", "")):
        raise ApiError(
            "unsupported_type",
            f"the body is {kind!r}; send a {PHOTO_FORMAT_NAMES} photo as image/*, as "
            "application/octet-stream, without a content type, or as 'file' of a form",
        )
    body = await read_body(request, slot, max_bytes=max_bytes)
    if not body:
        raise ApiError("invalid_request", "the body is empty; send a photo")
    return body


async def read_body(request: Request, slot: RequestSlot, *, max_bytes: int) -> bytes:
    """Read a whole body.

    Raises:
        ApiError: ``too_large``, by Content-Length before reading or while reading; ``deadline_exceeded``,
            sent too slowly; ``overloaded``.
    """
    chunks: list[bytes] = []
    await _receive(request, slot, max_bytes, chunks.append)
    return b"".join(chunks)


async def read_form(request: Request, slot: RequestSlot, spec: FormSpec) -> Form:
    """Read a multipart form.

    Raises:
        ApiError: ``unsupported_type``, ``too_many_photos``, ``invalid_request``, and those of ``read_body``.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data":
        raise ApiError(
            "unsupported_type",
            f"the body is {media_type(request) or 'of unknown type'!r}; send multipart/form-data with "
            f"{spec.file_field!r}",
        )
    builder = _FormBuilder(spec)
    try:
        parser = MultipartParser(options.get(b"boundary", b""), builder.callbacks())  # pyright: ignore[reportArgumentType]
        await _receive(request, slot, spec.max_bytes, parser.write)
        parser.finalize()
    except FormParserError as error:
        raise ApiError(
            "invalid_request", "the multipart body is malformed or cut off; send it again"
        ) from error
    if not builder.ended:
        raise ApiError("invalid_request", "the multipart body ends before its last boundary; send it again")
    return builder.form


async def _receive(
    request: Request, slot: RequestSlot, max_bytes: int, sink: Callable[[bytes], object]
) -> None:
    """Pass on a body chunk by chunk; reject a slow one, which would occupy its slot."""
    content_length = request.headers.get("content-length", "")
    if content_length.isdigit():
        _check_size(int(content_length), max_bytes)
    received = 0
    start = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout_at(start + MAX_UPLOAD_PAUSE_S) as timeout:
            async for chunk in request.stream():
                received += len(chunk)
                _check_size(received, max_bytes)
                slot.reserve_bytes(len(chunk))
                sink(chunk)
                timeout.reschedule(start + MAX_UPLOAD_PAUSE_S + received / MIN_UPLOAD_BYTES_PER_S)
    except TimeoutError as error:
        seconds = asyncio.get_running_loop().time() - start
        message = f"{received} bytes of the body arrived in {seconds:.0f} s"
        raise ApiError(
            "deadline_exceeded", f"{message}; send at least {MIN_UPLOAD_BYTES_PER_S} bytes per second"
        ) from error


def _check_size(num_bytes: int, max_bytes: int) -> None:
    if num_bytes > max_bytes:
        raise ApiError(
            "too_large",
            f"the request has {num_bytes / 1e6:.1f} MB or more, at most {max_bytes / 1e6:g} MB are allowed; "
            "send smaller or fewer photos",
        )


class _FormBuilder:
    """Build a form from the parser's events; each part within its limit."""

    def __init__(self, spec: FormSpec) -> None:
        self.form = Form()
        self.ended = False
        self._spec = spec
        self._header_name = b""
        self._header_value = b""
        self._headers: dict[bytes, bytes] = {}
        self._name = ""
        self._chunks: list[bytes] = []
        self._num_bytes = 0

    def callbacks(self) -> dict[str, object]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._add_name,
            "on_header_value": self._add_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._check_part,
            "on_part_data": self._add_data,
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        self._headers, self._chunks, self._num_bytes = {}, [], 0

    def _add_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value
        self._header_name = self._header_value = b""

    def _check_part(self) -> None:
        spec = self._spec
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        if self._name == spec.file_field:
            if len(self.form.files) == spec.max_files:
                if spec.max_files == 1:
                    raise ApiError(
                        "too_many_photos", f"more than one {self._name!r} was sent; send one photo"
                    )
                raise ApiError(
                    "too_many_photos",
                    f"more than {spec.max_files} photos were sent; send at most {spec.max_files}",
                )
        elif self._name not in spec.text_fields:
            known = " and ".join(map(repr, [spec.file_field, *spec.text_fields]))
            raise ApiError("invalid_request", f"the form has a field {self._name[:40]!r}; send {known} only")
        elif len(self.form.fields.get(self._name, [])) >= spec.max_files:
            raise ApiError(
                "invalid_request",
                f"more than {spec.max_files} fields {self._name!r} were sent; send one a photo",
            )

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        self._num_bytes += end - start
        if self._name != self._spec.file_field and self._num_bytes > MAX_FORM_FIELD_BYTES:
            raise ApiError(
                "invalid_request",
                f"field {self._name!r} has more than {MAX_FORM_FIELD_BYTES} characters; shorten it",
            )
        if self._num_bytes <= self._spec.max_file_bytes:
            self._chunks.append(data[start:end])
        else:
            self._chunks.clear()

    def _end(self) -> None:
        content = b"".join(self._chunks)
        if self._name != self._spec.file_field:
            self.form.fields.setdefault(self._name, []).append(content.decode("utf-8", "replace"))
        elif self._num_bytes > self._spec.max_file_bytes:
            self.form.files.append(photo_too_large(self._num_bytes, self._spec.max_file_bytes))
        else:
            self.form.files.append(content)
        self._chunks = []

    def _finish(self) -> None:
        self.ended = True
