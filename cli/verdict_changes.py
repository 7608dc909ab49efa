"""Compare the verdicts of two lesion checkpoints on a folder of photos, as served."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cli.text_table import text_table
from models.errors import SkinserveError

VERDICTS = ("benign", "inconclusive", "malignant", "not usable", "unreadable")
MAX_NAMES = 50


class PhotosError(SkinserveError):
    """Report photos that cannot be compared."""


@dataclass(frozen=True, kw_only=True)
class VerdictChange:
    """Verdicts of both checkpoints on one photo."""

    name: str
    before: str
    after: str


def compare_verdicts(folders: Sequence[Path], photos: str) -> str:
    """Return a table of the verdicts of two checkpoints, and the photos whose verdict differs.

    Raises:
        CheckpointError: a folder is no lesion checkpoint.
        PhotosError: the folder has no file.
    """
    files = sorted(file for file in Path(photos).rglob("*") if file.is_file() and file.name[0] != ".")
    if not files:
        raise PhotosError(f"{photos} has no files; name a folder of lesion photos")
    before, after = ([*_verdicts(folder, files)] for folder in folders)
    names = [str(file.relative_to(photos)) for file in files]
    rows = zip(names, before, after, strict=True)
    return changes_table([VerdictChange(name=name, before=old, after=new) for name, old, new in rows])


def changes_table(verdicts: Sequence[VerdictChange]) -> str:
    """Return the counts of all pairs of verdicts, and the names of the changed photos."""
    counts = Counter((one.before, one.after) for one in verdicts)
    used = [one for one in VERDICTS if any(one in pair for pair in counts)]
    rows = [["A \\ B", *used], *([old, *(str(counts[old, new]) for new in used)] for old in used)]
    changed = [one for one in verdicts if one.before != one.after]
    lines = [f"{one.name}: {one.before} -> {one.after}" for one in changed[:MAX_NAMES]]
    if len(changed) > MAX_NAMES:
        lines.append(f"... and {len(changed) - MAX_NAMES:,} more")
    summary = f"{len(changed):,} of {len(verdicts):,} verdicts differ."
    return "\n".join([text_table(rows), "", summary, *lines])


def _verdicts(folder: Path, files: Sequence[Path]) -> Iterator[str]:
    # Here, because torch takes seconds to import.
    from models.lesion.engine_loader import load_lesion_engine
    from models.lesion.gate import gate_of
    from models.lesion.localizer import Localizer
    from train.lesion.pipeline import Picture, run_pipeline

    engine = load_lesion_engine(folder)
    gate = gate_of(engine.meta)
    localizer = Localizer(folder, gate) if gate else None
    malignant = engine.meta.thresholds["malignant"]
    benign = engine.meta.thresholds.get("benign", malignant)
    for file in files:
        picture = Picture(name="", source="", group="", data=file.read_bytes(), malignant=None)
        output = next(run_pipeline(engine, localizer, [picture], unreadable=[]), None)
        if output is None:
            yield "unreadable"
        elif output.problems(gate):
            yield "not usable"
        else:
            yield output.verdict(gate, benign=benign, malignant=malignant)
