"""Map the sources' names of diagnoses, ages, sexes and skin types to ours.

Sources: the diagnoses of the ISIC archive as in its own package isic-metadata (the older flat list, and the
tree of ``diagnosis_1`` to ``diagnosis_5``); PAD-UFES-20, Pacheco et al. 2020, doi:10.1016/j.dib.2020.106221;
the tables of PH2, Derm7pt, DDI and Fitzpatrick17k.
"""

import re
from collections.abc import Iterable
from typing import Literal

from models.diagnoses import Diagnosis, UnknownDiagnosisError, find_diagnosis

Policy = Literal["skinsense", "exclude", "malignant"]
Claim = Literal["benign", "malignant", "indeterminate", ""]

OLDEST_YEARS = 85.0
"""Higher ages are stored as this one, as in the ISIC archive: a rare age can identify a person."""

INDETERMINATE = frozenset(
    {"Actinic Keratosis", "AIMP", "Atypical Melanocytic Proliferation", "Atypical Spitz Tumor"}
)
"""Diagnoses that the ISIC archive calls indeterminate."""

MALIGNANT_NAME_OF = {"AIMP": "Atypical Melanocytic Proliferation"}
"""Malignant diagnosis for each indeterminate one that our taxonomy calls benign."""

_ALIASES = {
    # PAD-UFES-20
    "ack": "Actinic Keratosis",
    "nev": "Nevus",
    "sek": "Seborrheic Keratosis",
    # PH2, Derm7pt and MED-NODE
    **dict.fromkeys(("common nevus", "atypical nevus", "naevus", "blue nevus", "clark nevus"), "Nevus"),
    **dict.fromkeys(("combined nevus", "congenital nevus", "dermal nevus", "recurrent nevus"), "Nevus"),
    "reed or spitz nevus": "Nevus",
    "lentigo": "Lentigo NOS",
    "melanoma (in situ)": "Melanoma",
    "melanoma (less than 0.76 mm)": "Melanoma",
    "melanoma (0.76 to 1.5 mm)": "Melanoma",
    "melanoma (more than 1.5 mm)": "Melanoma",
    # DDI, with spaces for hyphens
    **dict.fromkeys(("melanocytic nevi", "dysplastic nevus"), "Nevus"),
    "pigmented spindle cell nevus of reed": "Nevus",
    **dict.fromkeys(("melanoma acral lentiginous", "nodular melanoma (nm)"), "Melanoma"),
    "basal cell carcinoma superficial": "Basal Cell Carcinoma",
    "basal cell carcinoma nodular": "Basal Cell Carcinoma",
    "squamous cell carcinoma keratoacanthoma": "Squamous Cell Carcinoma",
    "seborrheic keratosis irritated": "Seborrheic Keratosis",
    "verruca vulgaris": "Verruca",
    "keloid": "Scar",
    "arteriovenous hemangioma": "Vascular Lesion",
    # Fitzpatrick17k
    "malignant melanoma": "Melanoma",
    "superficial spreading melanoma ssm": "Melanoma",
    "lentigo maligna": "Melanoma",
    "basal cell carcinoma morpheiform": "Basal Cell Carcinoma",
    "solid cystic basal cell carcinoma": "Basal Cell Carcinoma",
    "nevocytic nevus": "Nevus",
    "halo nevus": "Nevus",
    "pyogenic granuloma": "Vascular Lesion",
    # The ISIC archive's older list, where it differs from ours
    "nevus spilus": "Nevus",
    "cafe-au-lait macule": "Café-au-lait Macule",
    "angiofibroma or fibrous papule": "Angiofibroma",  # a fibrous papule is an angiofibroma of the face
    # The archive's tree: branches that are one diagnosis of ours, with all their leaves
    "malignant melanocytic proliferations (melanoma)": "Melanoma",
    "indeterminate epidermal proliferations": "Actinic Keratosis",  # of the skin or, as cheilitis, of the lip
    "indeterminate melanocytic proliferations": "Atypical Melanocytic Proliferation",
    "benign soft tissue proliferations - vascular": "Vascular Lesion",
    # The archive's tree: single diagnoses
    "atypical intraepithelial melanocytic proliferation": "AIMP",
    "atypical melanocytic neoplasm": "Atypical Melanocytic Proliferation",
    "angiofibroma, facial": "Fibrous Papule",
    "cafe au lait macule or patch": "Café-au-lait Macule",
    "fibroepithelial polyp": "Acrochordon",
    "hemangioma": "Angioma",
    "ink-spot lentigo": "Lentigo NOS",
    "keratoacanthoma": "Squamous Cell Carcinoma",
    "lichen planus like keratosis": "Lichenoid Keratosis",
    "melanoma in situ": "Melanoma",
    "melanoma invasive": "Melanoma",
    "melanoma, nos": "Melanoma",
    "melanoma nos": "Melanoma",
    "plexiform neurofibroma": "Neurofibroma",
    "solar or actinic cheilitis": "Actinic Keratosis",
    "solar or actinic keratosis": "Actinic Keratosis",
    "squamous cell carcinoma in situ": "Squamous Cell Carcinoma",
    "squamous cell carcinoma, invasive": "Squamous Cell Carcinoma",
    "squamous cell carcinoma, nos": "Squamous Cell Carcinoma",
    "squamous cell carcinoma nos": "Squamous Cell Carcinoma",
    "verrucous carcinoma": "Squamous Cell Carcinoma",
}

_UNKNOWN = frozenset({"", "unknown", "unk", "nan", "none", "null", "n/a", "na"})
_GROUPS: dict[str, Claim] = {
    "benign": "benign",
    "malignant": "malignant",
    "indeterminate": "indeterminate",
    "indeterminate/benign": "indeterminate",
    "indeterminate/malignant": "indeterminate",
}
_SEXES = {"female": "female", "f": "female", "male": "male", "m": "male"}
_SKIN_TYPES = ("I", "II", "III", "IV", "V", "VI")


def is_unknown(text: str) -> bool:
    """Check whether a cell is empty or means unknown."""
    return text.casefold() in _UNKNOWN


def known(text: str) -> str:
    """Return a cell's text, empty if it means unknown."""
    return "" if is_unknown(text) else text


def diagnosis_of(texts: Iterable[str]) -> Diagnosis | None:
    """Return the diagnosis of the first text that names one, or None."""
    for text in texts:
        key = " ".join(text.casefold().split())
        try:
            return find_diagnosis(_ALIASES.get(key, key))
        except UnknownDiagnosisError:
            continue
    return None


def claim_of(text: str) -> Claim:
    """Return the group that a text states, or an empty text."""
    return _GROUPS.get(text.casefold(), "")


def first_diagnosis_text(texts: Iterable[str]) -> str:
    """Return the first text that names more than a group, or an empty text."""
    return next((text for text in texts if known(text) and not claim_of(text)), "")


def number_of(text: str) -> float:
    """Parse a number with a decimal point, or with a comma as in German spreadsheets.

    Raises:
        ValueError: the text is no number.
    """
    return float(text.replace(",", "."))


def age_of(text: str) -> float | None:
    """Parse an age in years, at most 85; "85+" is valid.

    Raises:
        ValueError: the text is no age.
    """
    if is_unknown(text):
        return None
    years = number_of(text.removesuffix("+"))
    if not 0 <= years <= 130:
        raise ValueError(f"{text} is no age in years")
    return min(years, OLDEST_YEARS)


def sex_of(text: str) -> str:
    """Parse a sex: "female", "male" or, if unknown, an empty text.

    Raises:
        ValueError: the text is none of these.
    """
    if is_unknown(text):
        return ""
    if text.casefold() not in _SEXES:
        raise ValueError(f"{text} is no known sex")
    return _SEXES[text.casefold()]


def skin_type_of(text: str) -> str:
    """Parse a Fitzpatrick skin type, I to VI or 1 to 6, to Roman numerals.

    Raises:
        ValueError: the text is no skin type.
    """
    if is_unknown(text) or text in ("0", "0.0"):
        return ""
    if text.upper() in _SKIN_TYPES:
        return text.upper()
    if not re.fullmatch(r"[1-6](\.0)?", text):
        raise ValueError(f"{text} is no Fitzpatrick skin type")
    return _SKIN_TYPES[int(text[0]) - 1]
