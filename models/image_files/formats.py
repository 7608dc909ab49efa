"""Recognise accepted and other formats of files by their first bytes."""

import re

from models.image_files.errors import UnreadableImageError, UnsupportedTypeError
from models.image_files.tiff import is_camera_raw
from models.limits import PHOTO_FORMAT_NAMES, PHOTO_FORMATS, PhotoFormat

_RAW = "a camera RAW file"
_VIDEO = "a video"
_EXPORT = "export it as JPEG"
_OTHER_TYPES = (
    (rb"%PDF-", "a PDF", "send the photo itself, not a document with it"),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", "a JPEG XL image", "save it as JPEG"),
    (rb".{4}ftypcrx|FUJIFILMCCD-RAW|II(?:RO|RS|U\0)|MMOR|\0MRM|FOVb", _RAW, _EXPORT),
    (rb".{4}ftyp(?:qt  |isom|iso\d|mp4\d|M4V|avc1|3g[p2]|dash|mmp4)|\x1aE\xdf\xa3|RIFF.{4}AVI ", _VIDEO,
     "send one picture of it as JPEG"),
    (rb"PK\x03\x04|7z\xbc\xaf|Rar!|\x1f\x8b", "an archive", "unpack it and send the photo in it"),
    (rb".{128}DICM", "a DICOM file", _EXPORT),
    (rb"8BPS", "a Photoshop file", _EXPORT),
)  # fmt: skip
_TEXT_TYPES = (
    # one pass each: a nested pattern took seconds for 4 kB
    (rb"(?=<(?:\?xml|!--|!doctype svg|svg))(?!.*<html).*<svg", "an SVG drawing", "send a photo"),
    (rb"<!doctype html|<html|<head|<body", "a web page", "send the photo itself, not a page with it"),
    (rb"data:", "a data URI", 'send the decoded bytes, or JSON {"image": "..."}'),
    (rb"\{", "JSON", 'send {"image": "..."} with content type application/json, or the bytes of the photo'),
)
_BASE64_STARTS = (b"/9j/", b"iVBORw0KGgo", b"UklGR", b"R0lGOD", b"AAAA", b"SUkqA", b"TU0AK", b"Qk")
"""JPEG, PNG, WebP, GIF, HEIC or AVIF or JPEG 2000, TIFF, BMP."""
_BASE64 = re.compile(rb"[A-Za-z0-9+/_\-\s=]+\Z")


def recognise_format(data: bytes) -> PhotoFormat:
    """Return the format of a photo.

    Raises:
        UnreadableImageError: the file is empty.
        UnsupportedTypeError: it has none of the accepted formats.
    """
    if not data:
        raise UnreadableImageError("the photo is empty (0 bytes); send the file itself")
    for format in PHOTO_FORMATS:
        if format.matches(data):
            if format.name == "TIFF" and is_camera_raw(data):
                raise _unsupported(_RAW, _EXPORT)
            return format
    raise _unsupported(*_describe(data))


def _describe(data: bytes) -> tuple[str, str]:
    """Return what a file is, and what to do instead."""
    for pattern, what, advice in _OTHER_TYPES:
        if re.match(pattern, data, re.DOTALL):
            return what, advice
    text = data[:4096].removeprefix(b"\xef\xbb\xbf").lstrip()
    for pattern, what, advice in _TEXT_TYPES:
        if re.match(pattern, text, re.DOTALL | re.IGNORECASE):
            return what, advice
    if text.startswith(_BASE64_STARTS) and _BASE64.match(text):
        return "base64 text", 'send the decoded bytes, or JSON {"image": "..."}'
    return "", "save it as JPEG and send that"


def _unsupported(what: str, advice: str) -> UnsupportedTypeError:
    subject = f"this is {what}, not" if what else "this is not"
    return UnsupportedTypeError(f"{subject} a {PHOTO_FORMAT_NAMES} photo; {advice}")
