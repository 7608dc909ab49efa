"""Read CSV files with any delimiter, with or without byte order mark, local or on S3."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from models import storage
from models.errors import SkinserveError

_DELIMITERS = ",;\t"


class IngestError(SkinserveError):
    """Report a source that cannot be converted to a manifest."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """One CSV file; the row with index 0 is row 2 of a spreadsheet."""

    address: str
    columns: tuple[str, ...]
    cells: tuple[dict[str, str], ...]
    too_long: frozenset[int] = frozenset()
    """Indices of rows with more cells than columns, from a delimiter without quotes."""

    @property
    def name(self) -> str:
        """File name without folder."""
        return self.address.rpartition("/")[2]


def read_table(address: str) -> Table:
    """Read one CSV file.

    White space around cells is removed. So is the tab that the ISIC archive writes before a leading ``=``,
    ``-``, ``+`` or ``@``, which spreadsheets would read as a formula. Short rows are padded with empty cells.

    Raises:
        IngestError: it is not text, or no CSV.
        models.storage.StorageError: it cannot be read.
    """
    content = storage.read_bytes(address)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise IngestError(
            f"{address} is not UTF-8 text (byte {error.start}); save it as CSV in UTF-8"
        ) from error
    first_line = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first_line.count)
    try:
        lines = [line for line in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)]
    except csv.Error as error:
        raise IngestError(f"{address} is no CSV: {error}; export it again") from error
    if not lines:
        raise IngestError(f"{address} is empty; name the CSV with the metadata")
    columns = tuple(cell.strip() for cell in lines[0])
    return Table(
        address=address,
        columns=columns,
        cells=tuple(_as_dict(columns, line) for line in lines[1:]),
        too_long=frozenset(index for index, line in enumerate(lines[1:]) if any(line[len(columns) :])),
    )


def _as_dict(columns: Sequence[str], line: Sequence[str]) -> dict[str, str]:
    values = [cell.strip() for cell in line]
    values += [""] * (len(columns) - len(values))
    return dict(zip(columns, values, strict=False))
