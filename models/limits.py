"""Limits of requests and photos, each defined once.

Configuration defaults, messages, the OpenAPI document and the page use these constants.
"""

import re
from typing import NamedTuple

from models.diagnoses import DIAGNOSES


class PhotoFormat(NamedTuple):
    """Define one accepted format of photos."""

    name: str
    mime_type: str
    suffixes: tuple[str, ...]
    signature: bytes
    """Regular expression for the first bytes of a file."""
    max_pixels: int
    is_isolated: bool = False
    """Decoded in a helper process (docs/decisions/0019-photo-formats.md)."""

    @property
    def pillow_name(self) -> str:
        """Name of Pillow's decoder; HEIC has none."""
        return self.name.replace(" ", "").upper()

    def matches(self, data: bytes) -> bool:
        """Check whether a file begins like this format."""
        return re.match(self.signature, data, re.DOTALL) is not None


MAX_PHOTO_BYTES = 20_000_000
"""Size of one photo file."""
MAX_PHOTO_PIXELS = 65_000_000
"""Width times height of one JPEG by its header, before decoding; phones send 9248 x 6936 = 64.1 million."""
_MAX_FULL_PIXELS = 51_000_000
"""Of formats that are decoded at full size; phones send 8192 x 6144 = 50.3 megapixels."""
_MAX_WEBP_PIXELS = 26_000_000
"""Its decoder needs 16 bytes a pixel."""

PHOTO_FORMATS = (
    PhotoFormat(
        "JPEG",
        "image/jpeg",
        (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
        rb"\xff\xd8\xff",
        MAX_PHOTO_PIXELS,
    ),
    PhotoFormat("PNG", "image/png", (".png", ".apng"), rb"\x89PNG\r\n\x1a\n", _MAX_FULL_PIXELS),
    PhotoFormat("WebP", "image/webp", (".webp",), rb"RIFF.{4}WEBP", _MAX_WEBP_PIXELS),
    # mif1, msf1 and miaf leave the codec to the compatible brands
    PhotoFormat(
        "AVIF",
        "image/avif",
        (".avif",),
        rb".{4}ftyp(?:avi[fs]|(?:mif1|miaf|msf1).{4}(?:.{4}){0,9}?avi[fs])",
        _MAX_FULL_PIXELS,
        is_isolated=True,
    ),
    PhotoFormat(
        "HEIC",
        "image/heic",
        (".heic", ".heif", ".hif"),
        rb".{4}ftyp(?:hei[cxms]|hev[cxms]|mif1|miaf|msf1)",
        _MAX_FULL_PIXELS,
        is_isolated=True,
    ),
    PhotoFormat(
        "TIFF",
        "image/tiff",
        (".tif", ".tiff"),
        rb"II[*+]\0|MM\0[*+]",
        _MAX_FULL_PIXELS,
        is_isolated=True,
    ),
    PhotoFormat(
        "JPEG 2000",
        "image/jp2",
        (".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".jpc"),
        rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51",
        _MAX_FULL_PIXELS,
        is_isolated=True,
    ),
    PhotoFormat("GIF", "image/gif", (".gif",), rb"GIF8[79]a", _MAX_FULL_PIXELS, is_isolated=True),
    PhotoFormat("BMP", "image/bmp", (".bmp", ".dib"), rb"BM", _MAX_FULL_PIXELS, is_isolated=True),
)
PHOTO_FORMAT_NAMES = " or ".join(", ".join(format.name for format in PHOTO_FORMATS).rsplit(", ", 1))
"""``JPEG, PNG, WebP, ... or BMP``."""
MAX_ICC_PROFILE_BYTES = 4_000_000
"""Larger ICC profiles are ignored; those of presses have up to 3 MB."""
MAX_EXIF_BYTES = 65_536
"""Larger EXIF data is ignored; one segment of a JPEG holds as much."""
MAX_MISSING_ROWS = 0.02
"""Share of the rows that a truncated JPEG may lack."""
MAX_DECODE_S = 30
"""Time for one photo in a helper process."""
MAX_HELPER_BYTES = 1_000_000_000
"""Memory of one helper process."""
MAX_JPEG_SCANS = 100
"""Scans of one JPEG. A progressive JPEG has about ten, and each costs another pass over all pixels."""
MAX_JPEG_SEGMENTS = 1000
"""Marker segments of one JPEG."""
MAX_FACE_PHOTO_SIDE_PX = 640
"""Long side of a photo in face detection; a larger photo is reduced while it is decoded."""

MIN_PHOTO_SIDE_PX = 32
"""Shorter side of a usable photo of a lesion (docs/decisions/0020-usable-photos.md)."""
MIN_BRIGHTNESS = 25
"""Luminance that at least 1% of the pixels must reach, of 255."""
WHITE_BRIGHTNESS = 250
"""Luminance from which a pixel counts as white, of 255."""
MAX_WHITE_SHARE = 0.95
"""Share of white pixels."""
MIN_CONTRAST = 1.0
"""Standard deviation of the pixels in at least one colour, of 255."""

MAX_REQUEST_BYTES = 200_000_000
"""Body of one request with several photos."""
MAX_JSON_BYTES = 50_000_000
"""JSON body of ``POST /predict``."""
MAX_FORM_OVERHEAD_BYTES = 1_000_000
"""Boundaries, part headers and text fields of one multipart form."""
MAX_FORM_FIELD_BYTES = 1000
"""One text field of a multipart form."""
MAX_UPLOAD_PAUSE_S = 10.0
"""Seconds without a byte of the body, after which the request is rejected as too slow."""
MIN_UPLOAD_BYTES_PER_S = 2000
"""Mean rate of a body, below which the request is rejected as too slow."""
MAX_DRAINED_BYTES = 100_000_000
"""Part of the body of a rejected request that is read and dropped before the response is sent."""
MAX_DRAIN_S = 5.0
"""Seconds for it."""
MAX_DRAIN_PAUSE_S = 1.0
"""Seconds without a byte, after which the response is sent."""

MAX_BATCH_PHOTOS = 64
"""Photos of one ``POST /v1/lesion/batch``."""
MIN_SERIES_PHOTOS = 2
"""Photos of one series; at least as many must show a face."""
MAX_SERIES_PHOTOS = 30
"""Photos of one series."""
DEFAULT_TOP_K = 5
"""Diagnoses that a lesion response lists when ``top_k`` is not given."""
MAX_TOP_K = len(DIAGNOSES)
"""Diagnoses that a lesion response can list."""

DEFAULT_DEADLINE_S = 60.0
"""Time for a response without the header ``x-request-timeout-seconds``."""
MAX_DEADLINE_S = 600.0
"""Largest value of the header ``x-request-timeout-seconds``."""
