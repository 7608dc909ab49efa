"""Read one row of an atlas or small set; return fields of an ``Entry``."""

from typing import Any

from train.data.ingest.readers import Cells, parse_or_empty, site_of
from train.data.ingest.report import RowReport
from train.data.ingest.vocabulary import Claim, claim_of, known, sex_of, skin_type_of

MED_NODE_COLUMNS = ("med-node_folder", "med-node_file")
"""Of the table that ``train.data.ingest.source`` makes from the folders."""
_PH2_DIAGNOSES = {"0": "common nevus", "1": "atypical nevus", "2": "melanoma"}
_DDI_SKIN_TYPES = {"12": "I-II", "34": "III-IV", "56": "V-VI"}
_TRUTH: dict[str, Claim] = {"true": "malignant", "1": "malignant", "false": "benign", "0": "benign"}


def read_ph2(cells: Cells, number: int, report: RowReport) -> dict[str, Any]:
    """Read a row of PH2_dataset.txt, whose clinical diagnosis is a number."""
    code = cells["clinical_diagnosis"]
    return {"image": cells["name"], "diagnoses": tuple(filter(None, (_PH2_DIAGNOSES.get(code, code),)))}


def read_derm7pt(cells: Cells, number: int, report: RowReport) -> dict[str, Any]:
    """Read a row of meta.csv: one case with a clinical and a dermoscopic photo."""
    case = known(cells["case_num"])
    return {
        "images": tuple(filter(None, (known(cells["clinic"]), known(cells["derm"])))),
        "diagnoses": tuple(filter(None, (known(cells["diagnosis"]),))),
        "lesion": f"Derm7pt_{case}" if case else "",
        "site": site_of(cells.get("location", "")),
        "sex": parse_or_empty(sex_of, cells.get("sex", ""), "sex", number, report, ""),
    }


def read_mednode(cells: Cells, number: int, report: RowReport) -> dict[str, Any]:
    """Read a photo of MED-NODE, which lies in a folder named by its diagnosis."""
    return {"image": cells["med-node_file"], "diagnoses": (cells["med-node_folder"],)}


def read_fitzpatrick17k(cells: Cells, number: int, report: RowReport) -> dict[str, Any]:
    """Read a row of fitzpatrick17k.csv; the two partitions of the diagnoses give the group."""
    wrong = cells.get("qc", "").startswith("3")
    scale = cells["fitzpatrick_scale"]
    return {
        "image": cells["md5hash"],
        "diagnoses": (cells["label"],),
        "claim": claim_of(cells.get("three_partition_label", "")),
        "problem": "a dermatologist marked the label as wrong (column qc)" if wrong else "",
        "skin_type": parse_or_empty(
            skin_type_of, "" if scale.startswith("-1") else scale, "skin type", number, report, ""
        ),
    }


def read_ddi(cells: Cells, number: int, report: RowReport) -> dict[str, Any]:
    """Read a row of ddi_metadata.csv; a skin tone covers two Fitzpatrick types."""
    return {
        "image": cells["ddi_file"],
        "diagnoses": (cells["disease"].replace("-", " "),),
        "claim": _TRUTH.get(cells["malignant"].casefold(), ""),
        "skin_type": _DDI_SKIN_TYPES.get(cells["skin_tone"], ""),
    }
