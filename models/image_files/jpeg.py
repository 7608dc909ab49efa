"""Read the markers of a JPEG: cost of decoding, end of the picture, missing rows.

Axes: H row, W column, C colour.
"""

import re

import numpy as np
from PIL import Image

from models.image_files.errors import UnreadableImageError
from models.image_files.exif import is_usable_exif
from models.limits import MAX_JPEG_SCANS, MAX_JPEG_SEGMENTS

_SEGMENT = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])")
"""Start of a segment. In the data of a scan only 00 and the restart markers follow an FF."""
_END_OF_IMAGE, _START_OF_SCAN, _APP1, _APP2 = 0xD9, 0xDA, 0xE1, 0xE2
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_NUM_COEFFICIENTS = 64


def jpeg_decoding_cost(data: bytes) -> int:
    """Return pixels times scans of a JPEG, the cost of decoding it, from its markers.

    Raises:
        UnreadableImageError: it has too many scans or segments.
    """
    pixels = scans = 0
    position = 2
    for _ in range(MAX_JPEG_SEGMENTS):
        found = _SEGMENT.search(data, position)
        if found is None or found[1][0] == _END_OF_IMAGE:
            return pixels * scans
        marker, position = found[1][0], found.end()
        if marker in _START_OF_FRAME:
            height, width = (_two_bytes(data, position + offset) for offset in (3, 5))
            pixels = max(pixels, height * width)
        scans += marker == _START_OF_SCAN
        if scans > MAX_JPEG_SCANS:
            break
        position += max(2, _two_bytes(data, position))
    raise UnreadableImageError(
        f"the JPEG has more than {MAX_JPEG_SCANS} scans or {MAX_JPEG_SEGMENTS} segments, which no camera "
        "writes; save it again as an ordinary JPEG and send that"
    )


def with_bounded_metadata(data: bytes) -> bytes:
    """Drop unneeded segments for which Pillow takes much memory.

    They are EXIF of overlapping values, EXIF behind the first segment, which Pillow would join to it, and the
    index of further pictures (MPF).
    """
    found_exif, kept_to, parts, position = False, 0, [], 2
    for _ in range(MAX_JPEG_SEGMENTS):
        found = _SEGMENT.search(data, position)
        if found is None or found[1][0] in (_START_OF_SCAN, _END_OF_IMAGE):
            break
        start, position = found.end() + 2, found.end() + max(2, _two_bytes(data, found.end()))
        is_exif = found[1][0] == _APP1 and data.startswith(b"Exif\0\0", start)
        is_index = found[1][0] == _APP2 and data.startswith(b"MPF\0", start)
        if is_index or (is_exif and (found_exif or not is_usable_exif(data[start:position]))):
            parts.append(data[kept_to : found.start()])
            kept_to = position
        found_exif = found_exif or is_exif
    return b"".join([*parts, data[kept_to:]]) if parts else data


def end_after_last_scan(data: bytes) -> bytes | None:
    """Return a JPEG that ends after its last scan; None if it lacks a scan.

    A file without end marker may be cut off, or continue with data of the camera's maker. Zeros at the end
    are blocks of a disk that were never written.
    """
    scans = _Scans()
    position = 2
    for _ in range(MAX_JPEG_SEGMENTS):
        found = _SEGMENT.search(data, position)
        if scans.are_complete:
            end = found.start() if found else len(data)
            return data[:end].rstrip(b"\0") + b"\xff\xd9"
        if found is None or found[1][0] == _END_OF_IMAGE:
            return None
        position = found.end()
        length = max(2, _two_bytes(data, position))
        scans.read(found[1][0], data[position + 2 : position + length])
        position += length
    return None


def missing_rows(image: Image.Image) -> float:
    """Return the share of missing rows of a decoded JPEG; libjpeg fills them with grey."""
    image_HWC = np.asarray(image).reshape(image.height, image.width, -1)
    for missing in range(image.height):
        row_WC = image_HWC[image.height - 1 - missing]
        if row_WC.min() < 127 or row_WC.max() > 128:  # 127: an inverted channel of CMYK
            return missing / image.height
    return 1.0


class _Scans:
    """Record the coefficients of a JPEG that its scans hold at full precision."""

    def __init__(self) -> None:
        self._missing: dict[int, set[int]] | None = None
        self._is_progressive = False

    @property
    def are_complete(self) -> bool:
        """Whether the last scan has begun."""
        return self._missing is not None and not any(self._missing.values())

    def read(self, marker: int, segment: bytes) -> None:
        if marker in _START_OF_FRAME and self._missing is None:
            components = segment[6 : 6 + 3 * segment[5] : 3] if len(segment) > 5 else b""
            self._missing = {component: set(range(_NUM_COEFFICIENTS)) for component in components}
            self._is_progressive = marker in _PROGRESSIVE
        elif marker == _START_OF_SCAN and self._missing is not None and segment:
            self._read_scan(self._missing, segment)

    def _read_scan(self, missing: dict[int, set[int]], segment: bytes) -> None:
        components = segment[1 : 1 + 2 * segment[0] : 2]
        if not self._is_progressive:
            # missing rows can be detected in a scan of all colours only
            if set(components) == set(missing):
                missing.clear()
            return
        first, last, precision = (segment[-3:] + bytes(3))[:3]
        if precision & 0x0F == 0:
            for component in components:
                missing.get(component, set()).difference_update(range(first, last + 1))


def _two_bytes(data: bytes, position: int) -> int:
    return int.from_bytes(data[position : position + 2], "big")
