"""Check a split for leakage: ``skinserve check-leakage MANIFEST``."""

import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import tyro

from models.errors import EXIT_DONE, EXIT_FAILED, command
from train.data.duplicates import find_duplicates
from train.data.manifest import Row, read_manifest
from train.data.split import Split, groups_of, read_split

_MAX_LISTED = 20


@dataclass(frozen=True, kw_only=True)
class LeakageReport:
    """Groups and duplicates of a split, and those in both sets."""

    split: Split
    num_groups: int
    num_duplicates: int
    """Pairs."""
    num_without_thumbnail: int
    leaking_groups: Sequence[str]
    leaking_duplicates: Sequence[tuple[str, str]]
    """Names of the photos; the first is in the training set."""

    @property
    def leaks(self) -> bool:
        """Whether training and validation set share a group or a picture."""
        return bool(self.leaking_groups or self.leaking_duplicates)


@dataclass(frozen=True, kw_only=True)
class LeakageCheck:
    """Check that training and validation set share no patient, lesion, person or picture."""

    manifest: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MANIFEST")]
    """Parquet file from skinserve ingest, or its s3:// address."""
    split: str | None = None
    """The split.parquet of a training run; by default the split that training would make: of the progress
    task for photos of people, else of the lesion task."""
    val_fraction: float | None = None
    """Share of the validation set; by default the task's."""
    seed: int | None = None
    """Of the split; by default the task's."""


@command("skinserve check-leakage")
def main(prog: str, arguments: Sequence[str] | None) -> int:
    """Print the groups and pictures in both sets of a split; fail if there are any."""
    settings = tyro.cli(LeakageCheck, args=arguments, prog=prog)
    rows = read_manifest(settings.manifest)
    split = read_split(rows, settings.split) if settings.split else _new_split(rows, settings)
    report = check_leakage(split)
    print("\n".join(format_report(report)))
    return EXIT_FAILED if report.leaks else EXIT_DONE


def check_leakage(split: Split) -> LeakageReport:
    """Count groups and duplicate pairs, and find those in both sets."""
    rows = (*split.train, *split.val)
    pairs = find_duplicates([row.thumbnail for row in rows])
    sides: dict[str, set[bool]] = defaultdict(set)
    for place, group in enumerate(groups_of(rows, duplicates=pairs)):
        sides[group].add(place < len(split.train))
    crossing = [(i, j) for i, j in pairs if i < len(split.train) <= j]
    return LeakageReport(
        split=split,
        num_groups=len(sides),
        num_duplicates=len(pairs),
        num_without_thumbnail=sum(not row.thumbnail for row in rows),
        leaking_groups=sorted(group for group, on in sides.items() if len(on) > 1),
        leaking_duplicates=[(rows[i].name, rows[j].name) for i, j in crossing],
    )


def format_report(report: LeakageReport) -> list[str]:
    """Return the report as lines of text."""
    train, val = report.split.train, report.split.val
    lines = [
        f"rows               {len(train) + len(val)}: {len(train)} train, {len(val)} validation",
        f"groups             {report.num_groups}",
        f"duplicates found   {report.num_duplicates} pairs of photos show the same picture",
        f"fingerprint        {report.split.fingerprint}",
    ]
    if report.num_without_thumbnail:
        lines.append(
            f"not compared       {report.num_without_thumbnail} rows have no thumbnail; ingest them again"
        )
    count_train, count_val = Counter(row.label for row in train), Counter(row.label for row in val)
    labels = sorted(count_train | count_val)
    width = max(18, *(len(label) + 2 for label in labels))
    lines.append(f"{'label':<{width}} {'train':>7} {'val':>7}")
    lines += [
        f"{label or '(none)':<{width}} {count_train[label]:>7} {count_val[label]:>7}" for label in labels
    ]
    if not report.leaks:
        return [*lines, "no leak: no group and no picture is in both sets"]
    lines.append(
        f"LEAK: {len(report.leaking_groups)} groups and {len(report.leaking_duplicates)} pairs of the same "
        "picture are in both sets; make the split again"
    )
    lines += _listed([f"  group {group}" for group in report.leaking_groups])
    return lines + _listed([f"  pair {one} {other}" for one, other in report.leaking_duplicates])


def _new_split(rows: list[Row], settings: LeakageCheck) -> Split:
    from train.tasks import TASKS  # imports torch

    task = TASKS["progress" if any(row.person for row in rows) else "lesion"]
    given = {"val_fraction": settings.val_fraction, "seed": settings.seed}
    config = replace(task.config(), **{name: value for name, value in given.items() if value is not None})
    return task.split(config, rows)[0]


def _listed(lines: list[str]) -> list[str]:
    more = len(lines) - _MAX_LISTED
    return lines if more <= 0 else [*lines[:_MAX_LISTED], f"  and {more} more"]


if __name__ == "__main__":
    sys.exit(main())
