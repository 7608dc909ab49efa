"""Read the capture time of a photo from its EXIF and XMP data.

Cameras and apps write more forms than EXIF 2.32 and XMP define. Damaged data counts as missing.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from PIL import ExifTags, Image

FIRST_YEAR = 1990
"""Earlier times come from clocks that were never set, and from scans of prints."""
MAX_XMP_BYTES = 200_000
"""Three times the largest packet of a JPEG; parsing takes 0.1 s."""

_TIME = re.compile(
    r"(?P<year>[0-9]{4})[-:/.](?P<month>[0-9]{1,2})[-:/.](?P<day>[0-9]{1,2})"
    r"(?:[T ]\s*(?P<hour>[0-9]{1,2})[:.](?P<minute>[0-9]{1,2})"
    r"(?:[:.](?P<second>[0-9]{1,2})(?:[.,](?P<fraction>[0-9]{1,9}))?)?"
    r"\s*(?P<zone>Z|[+-][0-9]{2}:?[0-9]{2})?)?"
)
_XMP_TIMES = ("DateTimeOriginal", "DateTimeDigitized", "DateCreated", "CreateDate")
"""Of exif, exif, photoshop and xmp; Pillow removes the prefixes."""

_Tag = ExifTags.Base


def capture_time(image: Image.Image) -> datetime | None:
    """Return the capture time of an opened photo; naive unless a time zone is recorded.

    The sources, best first: DateTimeOriginal and DateTimeDigitized of EXIF, XMP, the GPS time (UTC), and
    DateTime of EXIF. DateTime comes last because image editors set it to the time of the last change.

    A time before ``FIRST_YEAR`` or more than a day in the future is a clock that was never set, and counts as
    missing.
    """
    sources: tuple[Callable[[Image.Image], datetime | None], ...] = (
        lambda image: _exif_time(image, _Tag.DateTimeOriginal, _Tag.SubsecTimeOriginal),
        lambda image: _exif_time(image, _Tag.DateTimeDigitized, _Tag.SubsecTimeDigitized),
        _xmp_time,
        _gps_time,
        lambda image: _exif_time(image, _Tag.DateTime, _Tag.SubsecTime),
    )
    for source in sources:
        try:
            taken = source(image)
        except Exception:  # damaged data makes Pillow raise struct.error, TypeError, KeyError and others
            continue
        if taken is not None:
            return taken
    return None


def _exif_time(image: Image.Image, tag: int, subsecond_tag: int) -> datetime | None:
    exif = image.getexif()
    fields: Mapping[int, Any] = exif.get_ifd(ExifTags.IFD.Exif)
    text = _text(exif.get(tag) or fields.get(tag))  # some apps put the times of the EXIF block beside it
    zones = (_Tag.OffsetTimeOriginal, _Tag.OffsetTimeDigitized, _Tag.OffsetTime)
    zone = next((zone for zone in map(_zone, (_text(fields.get(tag)) for tag in zones)) if zone), None)
    return _parse(text, zone=zone, fraction=_text(fields.get(subsecond_tag)))


def _gps_time(image: Image.Image) -> datetime | None:
    fields = image.getexif().get_ifd(ExifTags.IFD.GPSInfo)
    day = _text(fields[ExifTags.GPS.GPSDateStamp])
    hour, minute, second = (float(part) for part in fields[ExifTags.GPS.GPSTimeStamp])
    start = _parse(day, zone=UTC)
    return start and _plausible(start + timedelta(hours=hour, minutes=minute, seconds=second))


def _xmp_time(image: Image.Image) -> datetime | None:
    """Parse the XMP packet; defusedxml rejects entities, which could expand without bound."""
    if len(image.info.get("xmp", b"")) > MAX_XMP_BYTES:
        return None
    content: Any = image.getxmp()
    described = content.get("xmpmeta", content)["RDF"]["Description"]
    blocks = described if isinstance(described, list) else [described]
    texts = (_text(block.get(name)) for name in _XMP_TIMES for block in blocks if isinstance(block, dict))
    return next((taken for taken in map(_parse, texts) if taken), None)


def _parse(text: str, *, zone: timezone | None = None, fraction: str = "") -> datetime | None:
    """Parse a time; ``zone`` and ``fraction`` apply if the text has none."""
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    part = found.groupdict(default="")
    fraction = part["fraction"] or (fraction if fraction.isdecimal() else "")
    try:
        taken = datetime(
            int(part["year"]),
            int(part["month"]),
            int(part["day"]),
            int(part["hour"] or 0) % 24,  # some Android cameras write 24:15 for a quarter past midnight
            int(part["minute"] or 0),
            int(part["second"] or 0),
            int(fraction[:6].ljust(6, "0")),
            _zone(part["zone"]) or zone,
        )
    except ValueError:  # 0000:00:00 and other days that do not exist
        return None
    return _plausible(taken)


def _plausible(taken: datetime) -> datetime | None:
    if taken.year < FIRST_YEAR:
        return None
    in_utc = taken if taken.tzinfo else taken.replace(tzinfo=UTC)
    return taken if in_utc <= datetime.now(UTC) + timedelta(days=1) else None


def _zone(text: str) -> timezone | None:
    try:
        offset = datetime.strptime(text, "%z").utcoffset()
    except ValueError:
        return None
    return None if offset is None else timezone(offset)


def _text(field: object) -> str:
    text = field.decode("ascii", "replace") if isinstance(field, bytes) else str(field or "")
    return text.partition("\0")[0].strip()
