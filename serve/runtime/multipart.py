"""Parse multipart forms chunk by chunk, each part within its limit."""

import re
from collections.abc import Collection
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from models.images import PhotoError, photo_too_large
from models.limits import MAX_FORM_FIELD_BYTES
from serve.runtime.errors import ApiError

MAX_PREAMBLE_BYTES = 65_536
"""Data before the first boundary; it is ignored (RFC 2046)."""


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


class FormParser:
    """Parse one form.

    ``MultipartParser`` raises on a preamble. Hence data is held back until the first boundary is found.

    Args:
        content_type: header of the request, ``multipart/form-data`` with a boundary.

    Raises:
        ApiError: ``unsupported_type`` or ``invalid_request``.
    """

    def __init__(self, spec: FormSpec, content_type: str) -> None:
        kind, options = parse_options_header(content_type)
        if kind.lower() != b"multipart/form-data":
            found = repr(content_type[:60]) if content_type else "of unknown type"
            raise ApiError(
                "unsupported_type",
                f"the body is {found}; send multipart/form-data with {spec.file_field!r}",
            )
        boundary = options.get(b"boundary", b"")
        if not boundary:
            raise _invalid("the content type multipart/form-data has no boundary; let the HTTP client set it")
        self._builder = _FormBuilder(spec)
        try:
            self._parser = MultipartParser(boundary, self._builder.callbacks())  # pyright: ignore[reportArgumentType]
        except FormParserError as error:
            raise _invalid("the boundary of the form is too long; use at most 70 characters") from error
        self._boundary = boundary
        self._first_boundary = re.compile(rb"(?:\A|\n)--" + re.escape(boundary) + rb"(?=[ \t\r\n]|--)")
        self._preamble: bytes | None = b""

    def write(self, chunk: bytes) -> None:
        """Parse the next chunk of the body.

        Raises:
            ApiError: ``too_many_photos`` or ``invalid_request``.
        """
        if self._preamble is not None:
            chunk = self._skip_preamble(chunk)
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _malformed() from error

    def finish(self) -> Form:
        """Return the form at the end of the body.

        Raises:
            ApiError: ``invalid_request``.
        """
        if self._preamble is not None:
            raise self._no_boundary()
        try:
            self._parser.finalize()
        except FormParserError as error:
            raise _malformed() from error
        if not self._builder.ended:
            raise _invalid("the multipart body ends before its last boundary; send it again")
        return self._builder.form

    def _skip_preamble(self, chunk: bytes) -> bytes:
        """Return the data from the first boundary on; nothing until it is found."""
        assert self._preamble is not None
        searched = max(0, len(self._preamble) - len(self._boundary) - len(b"\n----"))
        data = self._preamble + chunk
        found = self._first_boundary.search(data, searched)
        if found is None or found.start() > MAX_PREAMBLE_BYTES:
            if len(data) > MAX_PREAMBLE_BYTES + len(self._boundary):
                raise self._no_boundary()
            self._preamble = data
            return b""
        if data.startswith(b"\n", found.end()):
            raise _invalid("the lines of the multipart body end in LF; end them in CR LF (RFC 2046)")
        self._preamble = None
        return data[found.start() :].removeprefix(b"\n")

    def _no_boundary(self) -> ApiError:
        boundary = self._boundary.decode("latin-1")
        return _invalid(
            f"no line of the body is '--{boundary[:70]}', the boundary that the content type names; let the "
            "HTTP client set the content type"
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


def _invalid(message: str) -> ApiError:
    return ApiError("invalid_request", message)


def _malformed() -> ApiError:
    return _invalid("the multipart body is malformed or cut off; send it again")
