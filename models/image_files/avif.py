"""Hide the EXIF data of an AVIF, which Pillow parses while it opens the file."""

import re

_EXIF_ITEM = re.compile(rb"(infe(?:\x02.{7}|\x03.{9}))Exif", re.DOTALL)


def without_exif(data: bytes) -> bytes | None:
    """Return an AVIF with its EXIF data hidden from decoders; None without EXIF data."""
    hidden, number = _EXIF_ITEM.subn(rb"\1none", data)
    return hidden if number else None
