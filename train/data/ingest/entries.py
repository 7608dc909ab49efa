"""A row of a source as a format understood it, before its diagnosis is looked up and its photo is read."""

from dataclasses import dataclass

from train.data.ingest.vocabulary import Claim


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One photo, as the source has it."""

    number: int
    """Row in the spreadsheet; the header is row 1."""
    image: str
    """Name of the photo in the source: an id, a file name, a path or an address."""
    diagnoses: tuple[str, ...] = ()
    """All that the source calls the lesion, most specific first."""
    claim: Claim = ""
    """What the source says about malignancy."""
    problem: str = ""
    """Why the row cannot be used, if the format already knows."""
    label: str = ""
    """Name of the diagnosis, once it was looked up."""
    patient: str = ""
    lesion: str = ""
    person: str = ""
    age_years: float | None = None
    sex: str = ""
    site: str = ""
    skin_type: str = ""
    licence: str = ""
    attribution: str = ""
