"""Limits of requests and photos, each defined once.

Configuration defaults, messages, the OpenAPI document and the page use these constants.
"""

from typing import NamedTuple

from models.diagnoses import DIAGNOSES


class PhotoFormat(NamedTuple):
    """Define one accepted format of photos."""

    name: str
    """In messages; Pillow's name is the same in upper case."""
    mime_type: str
    suffixes: tuple[str, ...]
    signature: bytes
    """Regular expression for the first bytes of a file."""


PHOTO_FORMATS = (
    PhotoFormat("JPEG", "image/jpeg", (".jpg", ".jpeg"), rb"\xff\xd8\xff"),
    PhotoFormat("PNG", "image/png", (".png",), rb"\x89PNG\r\n\x1a\n"),
    PhotoFormat("WebP", "image/webp", (".webp",), rb"RIFF.{4}WEBP"),
)
PHOTO_FORMAT_NAMES = " or ".join(", ".join(format.name for format in PHOTO_FORMATS).rsplit(", ", 1))
"""``JPEG, PNG or WebP``."""

MAX_PHOTO_BYTES = 20_000_000
"""Size of one photo file."""
MAX_PHOTO_PIXELS = 50_000_000
"""Width times height of one photo by its header, before decoding."""
MAX_JPEG_SCANS = 100
"""Scans of one JPEG. A progressive JPEG has about ten, and each costs another pass over all pixels."""
MAX_JPEG_SEGMENTS = 1000
"""Marker segments of one JPEG."""
MAX_FACE_PHOTO_SIDE_PX = 640
"""Long side of a photo in face detection; a larger photo is reduced while it is decoded."""

MIN_PHOTO_SIDE_PX = 32
"""Shorter side of a photo of a lesion that can be judged; docs/decisions/0020 gives the reasons."""
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
"""Part of a body that is read and dropped after the request was rejected."""
MAX_DRAIN_S = 5.0
"""Seconds for it."""

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
