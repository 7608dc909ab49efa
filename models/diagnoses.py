"""The diagnoses in output-column order and the group of each; the only copy of the list.

Source: the 20 benign and 7 malignant diagnoses that SkinSense tells apart, with its grouping; spelling as in
the ISIC archive. Actinic keratosis, atypical melanocytic proliferation and atypical Spitz tumor, which the
archive calls indeterminate, count as malignant here, and AIMP as benign, because SkinSense has it so.
"""

from dataclasses import dataclass
from typing import Literal

Group = Literal["benign", "malignant"]
GROUPS: tuple[Group, Group] = ("benign", "malignant")
"""Columns of the risk head."""


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """One diagnosis that a network may be trained to name."""

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
    """A label that is neither the name of a diagnosis nor one of the short codes."""


def find_diagnosis(label: str) -> Diagnosis:
    """Return the diagnosis that a name or a short code stands for, whatever its case.

    Raises:
        UnknownDiagnosisError: nothing of that name is in the taxonomy.
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
    """Return the names behind ``labels`` once each, in the order in which a network's columns carry them."""
    names = {find_diagnosis(label).name for label in labels}
    return tuple(diagnosis.name for diagnosis in DIAGNOSES if diagnosis.name in names)
