"""Find the metadata table of a source, its format and its companion file."""

import posixpath
from collections.abc import Sequence

from models import storage
from train.data.ingest.atlas_readers import MED_NODE_COLUMNS
from train.data.ingest.formats import FORMATS, Format, FormatName, by_name, detect
from train.data.ingest.photos import SUFFIXES
from train.data.ingest.tables import IngestError, Table, read_table

_SUFFIXES = (".csv", ".tsv", ".tab")
_PH2_TABLE = "ph2_dataset.txt"
_MED_NODE_FOLDERS = {"melanoma", "naevus"}


def find_source(source: str, name: FormatName | None) -> tuple[Table, Format]:
    """Return the only readable table at ``source``, a file or a folder, and its format.

    Args:
        name: of the format, or None to detect it from the columns.

    Raises:
        IngestError: there is no such table, or there are several.
    """
    tables = _tables(source)
    if name and len(tables) == 1:
        return tables[0], by_name(name, tables[0])
    candidates = [which for which in FORMATS if name in (None, which.name)]
    found = [(table, which) for table in tables if (which := detect(table.keys, candidates))]
    if len(found) == 1:
        return found[0]
    if found:
        several = ", ".join(f"{table.name} ({which.name})" for table, which in found)
        raise IngestError(f"{source} holds several sources: {several}; name one of these files")
    has = "; ".join(f"{table.name} has the columns {', '.join(table.columns)}" for table in tables[:3])
    needed = "; ".join(f"{', '.join(sorted(which.needs))} ({which.name})" for which in candidates)
    raise IngestError(f"{has}; needed are {needed}")


def find_companion(table: Table, found: Format, named: str) -> Table | None:
    """Return the companion file: the named one, or the best match beside the source.

    Raises:
        IngestError: the named file has other columns.
    """
    if not found.companion:
        return None
    if named:
        companion = read_table(named)
        if not _is_companion(companion, found):
            raise IngestError(
                f"{named} has the columns {', '.join(companion.columns)}; needed are image and "
                f"{' or '.join(sorted(found.companion))}"
            )
        return companion
    images = {cells["image"] for cells in table.cells}
    best, best_count = None, 0
    others, _ = _readable(storage.list_files(storage.parent(table.address)))
    for other in others:
        if not _is_companion(other, found):
            continue
        count = len(images & {cells["image"] for cells in other.cells})
        if count > best_count:
            best, best_count = other, count
    return best


def folder_of(source: str, table: Table) -> str:
    """Return the default folder of the photos."""
    return storage.parent(source) if table.address == source else source


def _tables(source: str) -> list[Table]:
    if storage.exists(source):
        return [read_table(source)]
    files = storage.list_files(source)
    if not files:
        raise IngestError(f"there is nothing at {source}; name the CSV with the metadata, or its folder")
    tables, errors = _readable(files)
    if errors and not tables:
        raise errors[0]
    if not tables and (photos := _med_node(source, files)):
        return [photos]
    if not tables:
        raise IngestError(f"{source} holds {len(files):,} files and no CSV; name the CSV with the metadata")
    return tables


def _readable(files: Sequence[str]) -> tuple[list[Table], list[IngestError]]:
    """Return the files that are tables, and the errors of the others."""
    tables, errors = [], []
    for address in filter(_may_be_table, files):
        try:
            tables.append(read_table(address))
        except IngestError as error:
            errors.append(error)
    return tables, errors


def _may_be_table(address: str) -> bool:
    """Check whether a file may be a table; HAM10000_metadata also exists without an extension."""
    name = address.rpartition("/")[2]
    if name.lower() == _PH2_TABLE:
        return True
    return not name.startswith(".") and ("." not in name or name.lower().endswith(_SUFFIXES))


def _med_node(source: str, files: Sequence[str]) -> Table | None:
    """Return the photos in the two folders of MED-NODE as a table, or None."""
    paths = [address[len(source.rstrip("/")) :].lstrip("/") for address in files]
    photos = [path for path in paths if path.lower().endswith(SUFFIXES)]
    rows = [(posixpath.dirname(path).rpartition("/")[2].lower(), path) for path in photos]
    rows = [row for row in rows if row[0] in _MED_NODE_FOLDERS]
    if {folder for folder, _ in rows} != _MED_NODE_FOLDERS:
        return None
    return Table(
        address=storage.join(source, "melanoma and naevus"),
        columns=MED_NODE_COLUMNS,
        cells=tuple(dict(zip(MED_NODE_COLUMNS, row, strict=True)) for row in rows),
    )


def _is_companion(table: Table, found: Format) -> bool:
    has = set(table.keys)
    return "image" in has and bool(found.companion & has) and not found.needs <= has
