"""Drop the chunks of a PNG that do not affect its pixels."""

import re
import struct
import zlib
from collections.abc import Iterator

MAX_ANCILLARY_BYTES = 1_000_000
"""Of one chunk, packed and unpacked; Pillow rejects the photo beyond."""
_KEPT = frozenset({b"tRNS", b"iCCP", b"eXIf", b"iTXt"})
_XMP = b"XML:com.adobe.xmp\0"
_SIGNATURE_LENGTH, _OVERHEAD = 8, 12
_MAX_CHUNKS = 100_000


def pixel_chunks(data: bytes) -> bytes:
    """Drop ancillary chunks that are damaged, large or without effect on the photo.

    Transparency, a colour profile, EXIF and XMP stay. Pillow reads the critical chunks and tests their
    checksums. An animation becomes its default picture.
    """
    kept: list[bytes | memoryview] = [data[:_SIGNATURE_LENGTH]]
    kinds = set[bytes]()
    for kind, chunk in _chunks(data):
        if _is_critical(kind) or (kind not in kinds and _is_usable(kind, chunk)):
            kept.append(chunk)
        kinds.add(kind)
    return b"".join(kept)


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Yield type and bytes of each chunk; the last one may be truncated."""
    view = memoryview(data)
    position = _SIGNATURE_LENGTH
    for _ in range(_MAX_CHUNKS):
        if position + _OVERHEAD > len(data):
            yield b"", view[position:]
            return
        (length,) = struct.unpack_from(">I", data, position)
        stop = position + _OVERHEAD + length
        yield data[position + 4 : position + 8], view[position:stop]
        position = stop


def _is_critical(kind: bytes) -> bool:
    return not re.fullmatch(rb"[a-z][A-Za-z]{3}", kind)  # an invalid type is kept: Pillow rejects it


def _is_usable(kind: bytes, chunk: memoryview) -> bool:
    if kind not in _KEPT or len(chunk) > MAX_ANCILLARY_BYTES:
        return False
    body = bytes(chunk[8:-4])
    if zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
        return False
    if kind == b"iCCP":
        return _is_small_when_unpacked(body.partition(b"\0")[2][1:])
    if kind == b"iTXt":
        return body.startswith(_XMP + b"\0")  # not compressed
    return True


def _is_small_when_unpacked(packed: bytes) -> bool:
    unpacker = zlib.decompressobj()
    try:
        return len(unpacker.decompress(packed, MAX_ANCILLARY_BYTES)) < MAX_ANCILLARY_BYTES and unpacker.eof
    except zlib.error:
        return False
