"""A row of a source, before its diagnosis is looked up and its photo is read."""

from dataclasses import dataclass

from train.data.ingest.vocabulary import Claim


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One photo with the metadata of its row."""

    number: int
    """Row in the spreadsheet; the header is row 1."""
    image: str
    """Name of the photo in the source: an id, a file name, a path or an address."""
    diagnoses: tuple[str, ...] = ()
    """All names that the source gives the lesion, most specific first."""
    claim: Claim = ""
    """The source's own group of the lesion."""
    problem: str = ""
    """Reason to drop the row, from the reader of the format; or empty."""
    label: str = ""
    """Name of the diagnosis after the lookup."""
    patient: str = ""
    lesion: str = ""
    person: str = ""
    age_years: float | None = None
    sex: str = ""
    site: str = ""
    skin_type: str = ""
    licence: str = ""
    attribution: str = ""
