"""The diagnoses in output-column order, each with its group, benign or malignant.

Source: the 20 benign and 7 malignant diagnoses of SkinSense, with its groups; spelled as in the ISIC archive.
As in SkinSense, actinic keratosis, atypical melanocytic proliferation and atypical Spitz tumor, which the
archive calls indeterminate, are malignant, and AIMP is benign.
"""

from dataclasses import dataclass
from typing import Literal

Group = Literal["benign", "malignant"]
GROUPS: tuple[Group, Group] = ("benign", "malignant")
"""Columns of the risk head."""


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """One class of the diagnosis head."""

    name: str
    group: Group


_BENIGN = (
    "Nevus",
    "Seborrheic Keratosis",
    "Pigmented Benign Keratosis",
    "Solar Lentigo",
    "Dermatofibroma",
    "Vascular Lesion",
    "Lentigo NOS",
    "Lichenoid Keratosis",
    "Lentigo Simplex",
    "AIMP",
    "Angioma",
    "Neurofibroma",
    "Scar",
    "Verruca",
    "Acrochordon",
    "Angiofibroma",
    "Fibrous Papule",
    "Café-au-lait Macule",
    "Angiokeratoma",
    "Clear Cell Acanthoma",
)
_MALIGNANT = (
    "Melanoma",
    "Basal Cell Carcinoma",
    "Actinic Keratosis",
    "Squamous Cell Carcinoma",
    "Melanoma Metastasis",
    "Atypical Melanocytic Proliferation",
    "Atypical Spitz Tumor",
)

DIAGNOSES: tuple[Diagnosis, ...] = (
    *(Diagnosis(name=name, group="benign") for name in _BENIGN),
    *(Diagnosis(name=name, group="malignant") for name in _MALIGNANT),
)

_BY_NAME = {diagnosis.name.casefold(): diagnosis for diagnosis in DIAGNOSES}

CODES: dict[str, str] = {
    "nv": "Nevus",
    "mel": "Melanoma",
    "bcc": "Basal Cell Carcinoma",
    "akiec": "Actinic Keratosis",  # HAM10000 and ISIC 2018
    "ak": "Actinic Keratosis",  # ISIC 2019
    "bkl": "Pigmented Benign Keratosis",
    "df": "Dermatofibroma",
    "vasc": "Vascular Lesion",
    "scc": "Squamous Cell Carcinoma",  # ISIC 2019
}
"""Short codes of HAM10000, ISIC 2018 and ISIC 2019, in lower case."""


class UnknownDiagnosisError(ValueError):
    """Report a label that is neither the name nor the short code of a diagnosis."""


def find_diagnosis(label: str) -> Diagnosis:
    """Return the diagnosis with this name or short code, in upper or lower case.

    Raises:
        UnknownDiagnosisError: there is no such diagnosis.
    """
    key = label.strip().casefold()
    found = _BY_NAME.get(CODES.get(key, key).casefold())
    if found is None:
        raise UnknownDiagnosisError(
            f"the label {label!r} is none of the {len(DIAGNOSES)} diagnoses and none of the codes "
            f"{', '.join(CODES)}; correct it or leave the row out"
        )
    return found


def in_column_order(labels: set[str]) -> tuple[str, ...]:
    """Return the unique diagnosis names of ``labels`` in the order of a network's output columns."""
    names = {find_diagnosis(label).name for label in labels}
    return tuple(diagnosis.name for diagnosis in DIAGNOSES if diagnosis.name in names)
