"""Read one row of each format; return the fields of an ``Entry``.

Cells are keyed by ``train.data.ingest.tables.column_key``, in lower case.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from train.data.ingest.report import RowReport
from train.data.ingest.vocabulary import Claim, age_of, claim_of, known, number_of, sex_of, skin_type_of

Cells = Mapping[str, str]
T = TypeVar("T")

LEVELS = tuple(f"diagnosis_{level}" for level in (5, 4, 3, 2, 1))
"""Columns of the ISIC archive's tree of diagnoses, most specific first."""
LEVELS_2024 = tuple(f"iddx_{level}" for level in (5, 4, 3, 2, 1))
CODES_2018 = ("mel", "nv", "bcc", "akiec", "bkl", "df", "vasc")
CODES_2019 = ("mel", "nv", "bcc", "ak", "bkl", "df", "vasc", "scc")
CLOSE_UPS = ("dermoscopic", "clinical", "clinical: close-up", "TBP tile: close-up")
"""Image types of the ISIC archive that show one lesion; others are overviews or microscopic images."""


def read_isic(cells: Cells, number: int, report: RowReport) -> dict[str, Any]:
    """Read a row of an ISIC archive export, which omits empty columns."""
    claims = {name: cells.get(name, "") for name in ("diagnosis_1", "benign_malignant")}
    return _isic(cells, (*LEVELS, "diagnosis"), claims, number, report)


def read_isic2024(cells: Cells, number: int, report: RowReport) -> dict[str, Any]:
    """Read a row of train-metadata.csv; most rows state a group and no diagnosis."""
    claims = {"iddx_1": cells.get("iddx_1", ""), "target": _group_of(cells["target"])}
    return _isic(cells, LEVELS_2024, claims, number, report)


def _isic(
    cells: Cells, levels: Sequence[str], claims: Mapping[str, str], number: int, report: RowReport
) -> dict[str, Any]:
    diagnoses = tuple(known(cells.get(name, "")) for name in levels)
    claim, problem = _claim(claims)
    kind = known(cells.get("image_type", ""))
    if kind and kind not in CLOSE_UPS:
        problem = f"image type {kind!r} does not show one lesion closely"
    return {
        "image": cells["isic_id"],
        "diagnoses": tuple(filter(None, diagnoses)),
        "claim": claim,
        "problem": problem,
        "patient": known(cells.get("patient_id", "")),
        "lesion": known(cells.get("lesion_id", "")),
        "site": site_of(cells.get("anatom_site_general", "") or cells.get("anatom_site_1", "")),
        "skin_type": parse_or_empty(
            skin_type_of, cells.get("fitzpatrick_skin_type", ""), "skin type", number, report, ""
        ),
        "licence": cells.get("copyright_license", ""),
        "attribution": cells.get("attribution", ""),
        **_age_and_sex(cells.get("age_approx", ""), cells.get("sex", ""), number, report),
    }


def read_ham10000(cells: Cells, number: int, report: RowReport) -> dict[str, Any]:
    """Read a row of HAM10000_metadata.csv."""
    return {
        "image": cells["image_id"],
        "diagnoses": (cells["dx"],),
        "lesion": known(cells["lesion_id"]),
        "site": site_of(cells.get("localization", "")),
        **_age_and_sex(cells.get("age", ""), cells.get("sex", ""), number, report),
    }


def read_isic2018(cells: Cells, number: int, report: RowReport) -> dict[str, Any]:
    """Read a row of the ground truth, joined with the lesion groupings."""
    return {
        "image": cells["image"],
        "lesion": known(cells.get("lesion_id", "")),
        **_one_hot(cells, CODES_2018),
    }


def read_isic2019(cells: Cells, number: int, report: RowReport) -> dict[str, Any]:
    """Read a row of the ground truth, joined with the metadata."""
    return {
        "image": cells["image"],
        "lesion": known(cells.get("lesion_id", "")),
        "site": site_of(cells.get("anatom_site_general", "")),
        **_one_hot(cells, (*CODES_2019, "unk")),
        **_age_and_sex(cells.get("age_approx", ""), cells.get("sex", ""), number, report),
    }


def read_isic2020(cells: Cells, number: int, report: RowReport) -> dict[str, Any]:
    """Read a row of the competition; a target without a diagnosis is not a label."""
    target = _group_of(cells["target"])
    claim, problem = _claim({"target": target, "benign_malignant": cells.get("benign_malignant", "")})
    return {
        "image": cells["image_name"],
        "diagnoses": tuple(filter(None, (known(cells.get("diagnosis", "")),))),
        "claim": claim,
        "problem": problem,
        "patient": known(cells.get("patient_id", "")),
        "lesion": known(cells.get("lesion_id", "")),
        "site": site_of(cells.get("anatom_site_general_challenge", "")),
        **_age_and_sex(cells.get("age_approx", ""), cells.get("sex", ""), number, report),
    }


def read_pad(cells: Cells, number: int, report: RowReport) -> dict[str, Any]:
    """Read a row of PAD-UFES-20's metadata.csv, which spells it "fitspatrick"."""
    skin_type = cells.get("fitspatrick", "") or cells.get("fitzpatrick", "")
    return {
        "image": cells["img_id"],
        "diagnoses": (cells["diagnostic"],),
        "patient": known(cells.get("patient_id", "")),
        "lesion": known(cells.get("lesion_id", "")),
        "site": site_of(cells.get("region", "")),
        "skin_type": parse_or_empty(skin_type_of, skin_type, "skin type", number, report, ""),
        **_age_and_sex(cells.get("age", ""), cells.get("gender", ""), number, report),
    }


def read_plain(cells: Cells, number: int, report: RowReport) -> dict[str, Any]:
    """Read image, label and group; a group counts as a patient, the largest unit."""
    return {
        "image": cells["image"],
        "diagnoses": tuple(filter(None, (known(cells["label"]),))),
        "patient": known(cells.get("group", "")),
    }


def read_people(cells: Cells, number: int, report: RowReport) -> dict[str, Any]:
    """Read image and person, without a diagnosis."""
    person = known(cells["person"])
    return {"image": cells["image"], "person": person, "problem": "" if person else "no person is named"}


def _group_of(target: str) -> str:
    return {"0": "benign", "1": "malignant"}.get(target.removesuffix(".0"), "")


def _claim(columns: Mapping[str, str]) -> tuple[Claim, str]:
    """Return the first stated group, and a problem if the columns contradict each other."""
    claims: list[Claim] = [claim for text in columns.values() if (claim := claim_of(text))]
    contradict = {"benign", "malignant"} <= set(claims)
    problem = f"{' and '.join(columns)} contradict each other" if contradict else ""
    return claims[0] if claims else "", problem


def _one_hot(cells: Cells, codes: Sequence[str]) -> dict[str, Any]:
    """Return the diagnosis whose column is 1, or a problem."""
    try:
        hot = [code for code in codes if number_of(cells.get(code) or "0") == 1]
    except ValueError:
        return {"problem": "a column of the diagnoses holds no number"}
    if len(hot) > 1:
        return {"problem": f"{len(hot)} diagnoses at once"}
    return {"diagnoses": tuple(code for code in hot if code != "unk")}


def _age_and_sex(age: str, sex: str, number: int, report: RowReport) -> dict[str, Any]:
    return {
        "age_years": parse_or_empty(age_of, age, "age", number, report, None),
        "sex": parse_or_empty(sex_of, sex, "sex", number, report, ""),
    }


def parse_or_empty(
    parse: Callable[[str], T], text: str, what: str, number: int, report: RowReport, empty: T
) -> T:
    """Parse a cell; report an invalid one and return ``empty``."""
    try:
        return parse(text)
    except ValueError:
        report.change(number, f"{what} {text!r} not understood and left empty")
        return empty


def site_of(text: str) -> str:
    """Return the site of a lesion in lower case, empty if it is unknown."""
    return known(text).lower()
