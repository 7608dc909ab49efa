"""Read CSV files with any delimiter and encoding, local or on S3."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from models import storage
from models.errors import SkinserveError

_DELIMITERS = ",;\t"
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
"""First bytes of Excel's .xlsx and .xls."""
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f]")
_MEASUREMENTS = "tbp_lv_"
"""Prefix of 34 columns of ISIC 2024, which nothing reads and which would take half of the memory."""


class IngestError(SkinserveError):
    """Report a source that cannot be converted to a manifest."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """One CSV file; the row with index 0 is row 2 of a spreadsheet."""

    address: str
    columns: tuple[str, ...]
    """Names as they are written."""
    cells: tuple[dict[str, str], ...]
    """Each row by ``column_key`` of the columns."""
    too_long: frozenset[int] = frozenset()
    """Indices of rows with more cells than columns, from a delimiter without quotes."""
    remarks: tuple[str, ...] = ()
    """Sentences for the report."""

    @property
    def name(self) -> str:
        """File name without folder."""
        return self.address.rpartition("/")[2]

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of the cells."""
        return tuple(map(column_key, self.columns))


def column_key(column: str) -> str:
    """Return a column's name in lower case, with underscores for spaces."""
    return "_".join(column.casefold().split())


def read_table(address: str) -> Table:
    """Read one CSV file, or the table of PH2, whose columns are separated by ``||``.

    White space around cells is removed. So is the tab that the ISIC archive writes before a leading ``=``,
    ``-``, ``+`` or ``@``, which spreadsheets would read as a formula. Short rows are padded with empty cells.

    Raises:
        IngestError: it is not text, or no CSV.
        models.storage.StorageError: it cannot be read.
    """
    text, remarks = decode_text(storage.read_bytes(address), address)
    lines = _ph2_lines(text) if text.lstrip().startswith("||") else _csv_lines(text)
    try:
        columns = tuple(cell.strip() for cell in next(lines, ()))
        cells, too_long = _cells_of(columns, lines)
    except csv.Error as error:
        raise IngestError(f"{address} is no CSV: {error}; export it again") from error
    if not columns:
        raise IngestError(f"{address} is empty; name the CSV with the metadata")
    return Table(address=address, columns=columns, cells=cells, too_long=too_long, remarks=remarks)


def decode_text(content: bytes, address: str) -> tuple[str, tuple[str, ...]]:
    """Decode UTF-8, UTF-16 or Windows-1252 text; return it with remarks for the report.

    Raises:
        IngestError: it is an Excel workbook or not text.
    """
    if content.startswith(_WORKBOOKS):
        raise IngestError(f"{address} is an Excel workbook; save the sheet as CSV UTF-8 and name that file")
    encoding, remarks = _encoding_of(content), ()
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        text = content.decode("cp1252", errors="replace")
        remarks = (
            f"{address.rpartition('/')[2]} is not UTF-8 (byte {error.start}) and is read as Windows-1252; if "
            "names with accents are not found, save it as CSV UTF-8",
        )
    if found := _CONTROL.search(text):
        raise IngestError(f"{address} is not text (character {found.start()}); save it as CSV UTF-8")
    return text, remarks


def _encoding_of(content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if content[1:2] == b"\0":
        return "utf-16-le"
    return "utf-16-be" if content[:1] == b"\0" else "utf-8-sig"


def _csv_lines(text: str) -> Iterator[list[str]]:
    """Split a CSV; a first line ``sep=;``, which Excel does not show, names the delimiter."""
    stated = re.match(r'"?sep=(.)"?(?:\r\n|\r|\n|$)', text, re.IGNORECASE)
    if stated:
        text, delimiter = text[stated.end() :], stated[1]
    else:
        delimiter = max(_DELIMITERS, key=re.split(r"[\r\n]", text, maxsplit=1)[0].count)
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)


def _ph2_lines(text: str) -> Iterator[list[str]]:
    """Return name, histological and clinical diagnosis of PH2; the other columns are separated unevenly."""
    rows = (line.strip() for line in text.splitlines() if line.lstrip().startswith("||"))
    return (row.strip("|").split("||")[:3] for row in rows)


def _cells_of(
    columns: Sequence[str], lines: Iterable[Sequence[str]]
) -> tuple[tuple[dict[str, str], ...], frozenset[int]]:
    """Return the cells of each row and the indices of rows that are too long.

    Equal cells share one text, which saves memory in large tables.
    """
    keys = enumerate(map(column_key, columns))
    used = [(index, key) for index, key in keys if not key.startswith(_MEASUREMENTS)]
    same: dict[str, str] = {}

    def cell(line: Sequence[str], index: int) -> str:
        text = line[index].strip() if index < len(line) else ""
        return same.setdefault(text, text)

    rows, too_long = [], set()
    for number, line in enumerate(lines):
        rows.append({key: cell(line, index) for index, key in used})
        if any(line[len(columns) :]):
            too_long.add(number)
    return tuple(rows), frozenset(too_long)
