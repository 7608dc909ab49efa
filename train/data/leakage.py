"""Check that no group and no picture is on both sides of a split: ``skinserve check-leakage MANIFEST``."""

import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from models.errors import EXIT_DONE, EXIT_FAILED, command
from train.lesion.config import LesionTraining
from train.progress.config import ProgressTraining
from train.data.duplicates import find_duplicates
from train.data.manifest import read_manifest
from train.data.split import Split, groups_of, read_split, split_people, split_rows

_MAX_LISTED = 20


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What was looked at and what was found; a leak is on both sides."""

    split: Split
    num_groups: int
    num_duplicates: int
    """Pairs."""
    num_without_thumbnail: int
    leaking_groups: Sequence[str]
    leaking_duplicates: Sequence[tuple[str, str]]
    """Names of the photos; the first is in train."""

    @property
    def leaks(self) -> bool:
        """Whether anything is on both sides."""
        return bool(self.leaking_groups or self.leaking_duplicates)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Prove that no patient, lesion, person or picture is on both sides of a split; else exit status 1."""

    manifest: Annotated[str, tyro.conf.Positional]
    """Parquet file that skinserve ingest wrote, or its s3:// address."""
    split: str | None = None
    """The split.parquet of a training run; without it the split that training would draw is looked at."""
    val_fraction: float | None = None
    """As the recipe of the network has it, if left out: of people the progress network's."""
    seed: int | None = None
    """Likewise."""


@command("skinserve check-leakage")
def main(prog: str, arguments: Sequence[str] | None) -> int:
    """Print what a split's two sides share; a leak is a failure."""
    settings = tyro.cli(Settings, args=arguments, prog=prog)
    rows = read_manifest(settings.manifest)
    if settings.split is None:
        of_people = any(row.person for row in rows)
        recipe = ProgressTraining() if of_people else LesionTraining()
        draw = split_people if of_people else split_rows
        split = draw(
            rows,
            val_fraction=recipe.val_fraction if settings.val_fraction is None else settings.val_fraction,
            seed=recipe.seed if settings.seed is None else settings.seed,
        )
    else:
        split = read_split(rows, settings.split)
    found = audit(split)
    print("\n".join(report(found)))
    return EXIT_FAILED if found.leaks else EXIT_DONE


def audit(split: Split) -> Audit:
    """Look for groups and for pairs of the same picture, and for those on both sides."""
    rows = (*split.train, *split.val)
    pairs = find_duplicates([row.thumbnail for row in rows])
    sides: dict[str, set[bool]] = defaultdict(set)
    for place, group in enumerate(groups_of(rows, duplicates=pairs)):
        sides[group].add(place < len(split.train))
    crossing = [(i, j) for i, j in pairs if i < len(split.train) <= j]
    return Audit(
        split=split,
        num_groups=len(sides),
        num_duplicates=len(pairs),
        num_without_thumbnail=sum(not row.thumbnail for row in rows),
        leaking_groups=sorted(group for group, on in sides.items() if len(on) > 1),
        leaking_duplicates=[(rows[i].name, rows[j].name) for i, j in crossing],
    )


def report(found: Audit) -> list[str]:
    """Return the lines to print."""
    train, val = found.split.train, found.split.val
    lines = [
        f"rows               {len(train) + len(val)}: {len(train)} train, {len(val)} validation",
        f"groups             {found.num_groups}",
        f"duplicates found   {found.num_duplicates} pairs of photos show the same picture",
        f"fingerprint        {found.split.fingerprint}",
    ]
    if found.num_without_thumbnail:
        lines.append(
            f"not compared       {found.num_without_thumbnail} rows have no thumbnail; ingest them again"
        )
    count_train, count_val = Counter(row.label for row in train), Counter(row.label for row in val)
    labels = sorted(count_train | count_val)
    width = max(18, *(len(label) + 2 for label in labels))
    lines.append(f"{'label':<{width}} {'train':>7} {'val':>7}")
    lines += [
        f"{label or '(none)':<{width}} {count_train[label]:>7} {count_val[label]:>7}" for label in labels
    ]
    if not found.leaks:
        return [*lines, "no leak: no group and no picture is on both sides"]
    lines.append(
        f"LEAK: {len(found.leaking_groups)} groups and {len(found.leaking_duplicates)} pairs of the same "
        "picture are on both sides; draw the split again"
    )
    lines += _listed([f"  group {group}" for group in found.leaking_groups])
    return lines + _listed([f"  pair {one} {other}" for one, other in found.leaking_duplicates])


def _listed(lines: list[str]) -> list[str]:
    more = len(lines) - _MAX_LISTED
    return lines if more <= 0 else [*lines[:_MAX_LISTED], f"  and {more} more"]


if __name__ == "__main__":
    sys.exit(main())
