"""The known formats: their columns, licences and readers."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from train.data.ingest import atlas_readers, readers
from train.data.ingest.entries import Entry
from train.data.ingest.excel import damage_of
from train.data.ingest.report import RowReport
from train.data.ingest.tables import IngestError, Table

FormatName = Literal[
    "isic",
    "isic-old",
    "isic2018",
    "isic2019",
    "isic2020",
    "isic2024",
    "ham10000",
    "pad-ufes-20",
    "ph2",
    "derm7pt",
    "med-node",
    "fitzpatrick17k",
    "ddi",
    "plain",
    "people",
]


@dataclass(frozen=True, kw_only=True)
class Format:
    """Describe how a format is detected and read."""

    name: FormatName
    title: str
    needs: frozenset[str]
    """Columns of every file of the format, as ``column_key``."""
    read: Callable[[readers.Cells, int, RowReport], dict[str, Any]]
    """Returns the fields of an Entry from one row; unreadable cells go to the report."""
    one_of: frozenset[str] = frozenset()
    """Columns of which the file has at least one."""
    companion: frozenset[str] = frozenset()
    """Columns of a second file, joined by ``image``; empty without a second file."""
    patients: str = "patients"
    """Plural noun for what ``read`` returns as patients."""
    licence: str = ""
    attribution: str = ""
    remark: str = ""
    """Sentence for the report of every source of the format."""

    def matches(self, keys: Sequence[str]) -> bool:
        """Check whether a table with these columns has this format."""
        has = set(keys)
        return self.needs <= has and (not self.one_of or bool(self.one_of & has))


def detect(keys: Sequence[str], candidates: Sequence[Format]) -> Format | None:
    """Return the first candidate with the columns of the table, or None."""
    return next((found for found in candidates if found.matches(keys)), None)


def entries_of(table: Table, found: Format, companion: Table | None, report: RowReport) -> Iterator[Entry]:
    """Yield an entry for every photo of a table, joined with the companion file.

    Raises:
        IngestError: Excel has changed an id.
    """
    more = {cells["image"]: cells for cells in companion.cells} if companion else {}
    for number, cells in enumerate(table.cells, start=2):
        if not any(cells.values()):
            continue
        report.num_read += 1
        if number - 2 in table.too_long:
            yield Entry(number=number, image="", problem="the row has more cells than the header")
            continue
        if companion and cells["image"] not in more:
            report.change(number, f"no row of its own in {companion.name}")
        both = {**more.get(cells.get("image", ""), {}), **cells}
        fields = found.read(both, number, report)
        images = fields.pop("images", None) or (fields.pop("image", ""),)
        report.num_read += len(images) - 1
        for image in images:
            entry = Entry(number=number, image=image, **fields)
            _reject_ids_changed_by_excel(entry, table)
            yield entry if image else Entry(number=number, image="", problem="no photo is named")


def _reject_ids_changed_by_excel(entry: Entry, table: Table) -> None:
    ids = {"photo": entry.image, "patient": entry.patient, "lesion": entry.lesion, "person": entry.person}
    for what, text in ids.items():
        if damage := damage_of(text):
            raise IngestError(
                f"{table.address}, row {entry.number}: the {what} is {text!r}: {damage}, and the id is lost; "
                "export the table again and do not save it with Excel, or import its ids as text"
            )


def by_name(name: FormatName, table: Table) -> Format:
    """Return a format by its name and check the columns of the table.

    Raises:
        IngestError: the table lacks columns.
    """
    found = next(candidate for candidate in FORMATS if candidate.name == name)
    missing = found.needs - set(table.keys)
    if found.one_of and not found.one_of & set(table.keys):
        missing |= {" or ".join(sorted(found.one_of))}
    if missing:
        raise IngestError(
            f"{table.address} has no column {', '.join(sorted(missing))}, which {found.title} needs; "
            f"it has {', '.join(table.columns)}"
        )
    return found


_NON_COMMERCIAL = "CC BY-NC 4.0"
_RESEARCH = "research use only"

FORMATS = (
    Format(
        name="isic",
        title="an export of the ISIC archive",
        needs=frozenset({"isic_id"}),
        one_of=frozenset(readers.LEVELS),
        read=readers.read_isic,
    ),
    Format(
        name="isic-old",
        title="an older export of the ISIC archive",
        needs=frozenset({"isic_id"}),
        one_of=frozenset({"diagnosis", "benign_malignant"}),
        read=readers.read_isic,
    ),
    Format(
        name="isic2024",
        title="train-metadata.csv of ISIC 2024 (SLICE-3D)",
        needs=frozenset({"isic_id", "target", "iddx_full", *readers.LEVELS_2024}),
        read=readers.read_isic2024,
        licence=_NON_COMMERCIAL,
        attribution="ISIC 2024, Kurtansky et al. 2024, doi:10.1038/s41597-024-03743-w",
    ),
    Format(
        name="ham10000",
        title="HAM10000",
        needs=frozenset({"lesion_id", "image_id", "dx"}),
        read=readers.read_ham10000,
        licence=_NON_COMMERCIAL,
        attribution="HAM10000, Tschandl et al. 2018, doi:10.7910/DVN/DBW86T",
    ),
    Format(
        name="isic2019",
        title="the ground truth of ISIC 2019",
        needs=frozenset({"image", *readers.CODES_2019}),
        companion=frozenset({"age_approx", "anatom_site_general", "lesion_id", "sex"}),
        read=readers.read_isic2019,
        licence=_NON_COMMERCIAL,
        attribution="ISIC 2019: HAM10000, BCN20000, MSK",
    ),
    Format(
        name="isic2018",
        title="the ground truth of ISIC 2018 task 3",
        needs=frozenset({"image", *readers.CODES_2018}),
        companion=frozenset({"lesion_id"}),
        read=readers.read_isic2018,
        licence=_NON_COMMERCIAL,
        attribution="ISIC 2018: HAM10000, Tschandl et al. 2018, doi:10.7910/DVN/DBW86T",
    ),
    Format(
        name="isic2020",
        title="train.csv of ISIC 2020",
        needs=frozenset({"image_name", "target"}),
        read=readers.read_isic2020,
        licence=_NON_COMMERCIAL,
        attribution="ISIC 2020, Rotemberg et al. 2021, doi:10.34970/2020-ds01",
    ),
    Format(
        name="pad-ufes-20",
        title="PAD-UFES-20",
        needs=frozenset({"img_id", "diagnostic"}),
        read=readers.read_pad,
        licence="CC BY 4.0",
        attribution="PAD-UFES-20, Pacheco et al. 2020, doi:10.17632/zr7vgbcyr2.1",
    ),
    Format(
        name="ph2",
        title="PH2",
        needs=frozenset({"name", "histological_diagnosis", "clinical_diagnosis"}),
        read=atlas_readers.read_ph2,
        licence=_RESEARCH,
        attribution="PH2, Mendonça et al. 2013, doi:10.1109/EMBC.2013.6610779",
    ),
    Format(
        name="derm7pt",
        title="Derm7pt",
        needs=frozenset({"case_num", "diagnosis", "clinic", "derm"}),
        read=atlas_readers.read_derm7pt,
        licence=_RESEARCH,
        attribution="Derm7pt, Kawahara et al. 2019, doi:10.1109/JBHI.2018.2824327",
        remark="a row of Derm7pt names two photos of one lesion, which count as two rows",
    ),
    Format(
        name="med-node",
        title="MED-NODE",
        needs=frozenset(atlas_readers.MED_NODE_COLUMNS),
        read=atlas_readers.read_mednode,
        licence=_RESEARCH,
        attribution="MED-NODE, Giotis et al. 2015, doi:10.1016/j.eswa.2015.04.034",
        remark="MED-NODE has no table: row numbers count its photos in the order of their names, from 2",
    ),
    Format(
        name="fitzpatrick17k",
        title="Fitzpatrick17k",
        needs=frozenset({"md5hash", "fitzpatrick_scale", "label"}),
        read=atlas_readers.read_fitzpatrick17k,
        licence="CC BY-NC-SA 3.0",
        attribution="Fitzpatrick17k, Groh et al. 2021, doi:10.1109/CVPRW53098.2021.00201",
        remark="Fitzpatrick17k names no patients: check the split with skinserve check-leakage",
    ),
    Format(
        name="ddi",
        title="DDI",
        needs=frozenset({"ddi_file", "malignant", "disease", "skin_tone"}),
        read=atlas_readers.read_ddi,
        licence=_RESEARCH,
        attribution="DDI, Daneshjou et al. 2022, doi:10.1126/sciadv.abq6147",
        remark="a skin tone of DDI covers two Fitzpatrick types, such as I-II",
    ),
    Format(
        name="plain",
        title="a plain list of photos",
        needs=frozenset({"image", "label"}),
        read=readers.read_plain,
        patients="groups",
    ),
    Format(
        name="people",
        title="a list of photos of people",
        needs=frozenset({"image", "person"}),
        read=readers.read_people,
    ),
)
