"""Read the first directory of a TIFF without a C library."""

import struct

_WIDTH, _HEIGHT, _COMPRESSION, _PHOTOMETRIC = 256, 257, 259, 262
_SUBFILE_TYPE, _SUB_DIRECTORIES, _DNG_VERSION = 254, 330, 50706
_RAW_COMPRESSIONS = frozenset({32767, 34713, 34892, 65000, 65535})
"""Of Sony, Nikon, lossy DNG, Kodak and Pentax."""
_COLOUR_FILTER_ARRAY, _LINEAR_RAW = 32803, 34892
_MAX_ENTRIES = 1000


def tiff_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height of the first page, or None for a damaged directory."""
    fields = _first_directory(data)
    if _WIDTH in fields and _HEIGHT in fields:
        return fields[_WIDTH], fields[_HEIGHT]
    return None


def is_camera_raw(data: bytes) -> bool:
    """Return whether a TIFF is a camera's RAW file: DNG, CR2, NEF, ARW, PEF."""
    if data[8:10] == b"CR":
        return True
    fields = _first_directory(data)
    is_thumbnail = fields.get(_SUBFILE_TYPE, 0) & 1 and _SUB_DIRECTORIES in fields
    return bool(
        _DNG_VERSION in fields
        or is_thumbnail
        or fields.get(_COMPRESSION) in _RAW_COMPRESSIONS
        or fields.get(_PHOTOMETRIC) in (_COLOUR_FILTER_ARRAY, _LINEAR_RAW)
    )


def _first_directory(data: bytes) -> dict[int, int]:
    """Return the first value of each tag; longer values appear as their offset."""
    order = "<" if data[:2] == b"II" else ">"
    is_big = data[2:4] in (b"+\0", b"\0+")
    try:
        if is_big:
            (start,) = struct.unpack_from(f"{order}Q", data, 8)
            (count,), start, step = struct.unpack_from(f"{order}Q", data, start), start + 8, 20
        else:
            (start,) = struct.unpack_from(f"{order}I", data, 4)
            (count,), start, step = struct.unpack_from(f"{order}H", data, start), start + 2, 12
        fields = {}
        for position in range(start, start + step * min(count, _MAX_ENTRIES), step):
            tag, kind = struct.unpack_from(f"{order}HH", data, position)
            value = "H" if kind == 3 else "Q" if is_big and kind == 16 else "I"
            (fields[tag],) = struct.unpack_from(f"{order}{value}", data, position + (12 if is_big else 8))
        return fields
    except (struct.error, OverflowError):
        return {}
