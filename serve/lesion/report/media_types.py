"""Choose the media type of a report by the header ``Accept``."""

import re
from typing import Literal

FHIR = "application/fhir+json"
PDF = "application/pdf"
MediaType = Literal["application/fhir+json", "application/pdf"]

_QUALITY = re.compile(r"q\s*=\s*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)", re.IGNORECASE | re.ASCII)


def preferred_types(accept: str) -> list[MediaType]:
    """Return the accepted types, the preferred one first; PDF before FHIR if both are equal.

    Args:
        accept: value of the header; empty: all types. Invalid parts are ignored.
    """
    qualities: dict[str, float] = {}
    for part in (accept.strip() or "*/*").split(","):
        name, *parameters = (one.strip() for one in part.split(";"))
        matches = [match for one in parameters if (match := _QUALITY.fullmatch(one))]
        qualities[name.lower()] = float(matches[0][1]) if matches else 1.0
    found: list[tuple[float, MediaType]] = [(_quality(qualities, one), one) for one in (PDF, FHIR)]
    return [one for quality, one in sorted(found, key=lambda pair: -pair[0]) if quality > 0]


def _quality(qualities: dict[str, float], media_type: str) -> float:
    """Return the quality by the most specific range."""
    for one in (media_type, "application/*", "*/*"):
        if one in qualities:
            return qualities[one]
    return 0.0
