"""Rows to the sides of a split: what shows the same patient, lesion, person or picture stays together."""

import io
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

from models.storage import exists, read_bytes, write_bytes
from train.data.duplicates import find_duplicates
from train.data.manifest import ManifestError, Row, fingerprint_of

MIN_PEOPLE = 4
_SCHEMA = pa.schema([("image", pa.string()), ("side", pa.string())])


@dataclass(frozen=True, kw_only=True)
class Split:
    """Rows to learn from and rows to judge by; no group is in both."""

    train: tuple[Row, ...]
    val: tuple[Row, ...]
    fingerprint: str
    """sha256 over every row and its side."""


def groups_of(rows: Sequence[Row], *, duplicates: Iterable[tuple[int, int]] | None = None) -> list[str]:
    """Return for every row the name of its group: all photos that may not be parted.

    Photos are of one group if they share a patient, a lesion or a person, or show the same picture, and so is
    whatever these share with others. A group has the name of its smallest key, of patients if it has any,
    else of lesions, people or photos. Only what the rows say counts, not their order.

    Args:
        duplicates: pairs of rows that show the same picture, where they have been looked for already.
    """
    if duplicates is None:
        duplicates = find_duplicates([row.thumbnail for row in rows])
    keys = [_keys(row) for row in rows]
    links = [(own[0], other) for own in keys for other in own]
    links += [(keys[i][0], keys[j][0]) for i, j in duplicates]
    smallest = _smallest_linked(links)
    return [":".join(smallest[own[0]][1:]) for own in keys]


def split_rows(rows: Sequence[Row], *, val_fraction: float, seed: int) -> Split:
    """Put whole groups on one side or the other, keeping the shares of the labels as alike as groups allow.

    Raises:
        ManifestError: a row has no label, or there are too few groups of some label to have it on both sides.
    """
    return fold_rows(rows, num_folds=max(2, round(1 / val_fraction)), seed=seed)[0]


def fold_rows(rows: Sequence[Row], *, num_folds: int, seed: int) -> list[Split]:
    """Return as many splits; every row is in the validation part of exactly one of them.

    Raises:
        ManifestError: a row has no label, or there are too few groups, of all or of some label.
    """
    groups = groups_of(rows)
    labels = [row.label for row in rows]
    _check_folds(labels, groups, num_folds)
    # Folds are drawn without regard to duplicates, and a group then goes where its smallest key is: so one
    # more duplicate that is found moves one photo, and does not draw everything anew.
    keyed = groups_of(rows, duplicates=())
    folds = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed).split(labels, labels, keyed)
    fold_of = {keyed[i]: number for number, (_, val_index) in enumerate(folds) for i in val_index}
    return [
        _split(rows, {i for i, group in enumerate(groups) if fold_of[group] == number})
        for number in range(num_folds)
    ]


def split_people(rows: Sequence[Row], *, val_fraction: float, seed: int) -> Split:
    """Put whole people on one side or the other, by lot, and as many of each kind as their number allows.

    Kinds are the labels, where there are any, else people with many photos and people with few. Unlike
    ``split_rows`` this counts people, not photos, and another seed holds out others.

    Raises:
        ManifestError: there are too few people.
    """
    groups = groups_of(rows)
    count = Counter(groups)
    if len(count) < MIN_PEOPLE:
        raise ManifestError(
            f"the manifest has {len(count)} people, {MIN_PEOPLE} are needed; add photos of more"
        )
    people = sorted(count)
    kinds = _kinds(rows, groups, people)
    _, held_out = train_test_split(people, test_size=val_fraction, stratify=kinds, random_state=seed)
    val_people = set(held_out)
    return _split(rows, {i for i, group in enumerate(groups) if group in val_people})


def write_split(split: Split, address: str | Path) -> None:
    """Store the side of every row, and the fingerprint, as Parquet in a folder or on S3."""
    sided = [(row, "train") for row in split.train] + [(row, "val") for row in split.val]
    sided.sort(key=lambda pair: _identity(pair[0]))
    table = pa.table(
        {"image": [row.name for row, _ in sided], "side": [side for _, side in sided]},
        schema=_SCHEMA.with_metadata({"fingerprint": split.fingerprint}),
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    write_bytes(str(address), buffer.getvalue())


def read_split(rows: Sequence[Row], address: str | Path) -> Split:
    """Return the split that was stored of these rows, whatever order they are in.

    Raises:
        ManifestError: there is no split at ``address``, or the rows are not those that were split.
    """
    if not exists(str(address)):
        raise ManifestError(f"no split at {address}; a training run writes one, or leave --split out")
    try:
        table = pq.read_table(io.BytesIO(read_bytes(str(address))))
        names, sides = (table.column(name).to_pylist() for name in _SCHEMA.names)
        fingerprint = (table.schema.metadata or {})[b"fingerprint"].decode()
    except (pa.ArrowException, KeyError) as error:
        raise ManifestError(f"{address} is not a split; name a split.parquet of a training run") from error
    order = sorted(range(len(rows)), key=lambda i: _identity(rows[i]))
    if names != [rows[i].name for i in order]:
        raise ManifestError(
            f"{address} is a split of {len(names)} rows, the manifest has {len(rows)} "
            f"({len(set(names) ^ {row.name for row in rows})} names differ); use the manifest it was made of"
        )
    val_index = {i for i, side in zip(order, sides, strict=True) if side == "val"}
    split = _split(rows, val_index)
    if split.fingerprint != fingerprint:
        raise ManifestError(
            f"the labels or groups of the manifest have changed since {address} was written (fingerprint "
            f"{split.fingerprint[:12]}, then {fingerprint[:12]}); use the manifest it was made of"
        )
    return split


def _split(rows: Sequence[Row], val_index: set[int]) -> Split:
    train = tuple(row for i, row in enumerate(rows) if i not in val_index)
    val = tuple(row for i, row in enumerate(rows) if i in val_index)
    return Split(train=train, val=val, fingerprint=fingerprint_of(train, val))


Key = tuple[str, ...]
"""Rank of the kind of key, its kind, and the key itself: a patient comes before a lesion."""


def _keys(row: Row) -> list[Key]:
    kinds = (("0", "patient", row.patient), ("1", "lesion", row.lesion), ("2", "person", row.person))
    return [key for key in kinds if key[-1]] or [("3", "photo", *_identity(row)[:2])]


def _identity(row: Row) -> tuple[str, ...]:
    """What the fingerprint knows of a row."""
    return row.name, row.label, row.patient, row.lesion, row.person


def _smallest_linked(links: Iterable[tuple[Key, Key]]) -> dict[Key, Key]:
    """Return for every key the smallest of those it is linked to, directly or through others."""
    neighbours: dict[Key, set[Key]] = defaultdict(set)
    for one, other in links:
        neighbours[one].add(other)
        neighbours[other].add(one)
    smallest: dict[Key, Key] = {}
    for start in sorted(neighbours):
        waiting = [start]
        while waiting:
            key = waiting.pop()
            if key not in smallest:
                smallest[key] = start
                waiting.extend(neighbours[key])
    return smallest


def _check_folds(labels: Sequence[str], groups: Sequence[str], num_folds: int) -> None:
    if not labels:
        raise ManifestError("the manifest is empty; ingest photos first")
    if num_folds < 2:
        raise ManifestError(f"{num_folds} folds are asked for, at least 2 are needed")
    if "" in labels:
        raise ManifestError(
            f"{labels.count('')} of {len(labels)} rows have no label, first row {labels.index('') + 1}; "
            "label them or take them out of the manifest"
        )
    num_groups = len(set(groups))
    if num_groups == 1:
        raise ManifestError(
            f"all {len(labels)} rows are of one group, {groups[0]}; a split needs photos of several patients"
        )
    if num_groups < num_folds:
        raise ManifestError(
            f"{num_folds} folds need as many groups, the manifest has {num_groups}; ask for fewer folds"
        )
    groups_of_label = Counter(label for label, _ in set(zip(labels, groups, strict=True)))
    rare = [f"{label} ({count})" for label, count in groups_of_label.items() if count < num_folds]
    if rare:
        raise ManifestError(
            f"{num_folds} folds (or {1 / num_folds:.0%} for validation) need {num_folds} groups of every "
            f"label; too few: {', '.join(rare)}; add photos, ask for fewer folds or raise --val-fraction"
        )


def _kinds(rows: Sequence[Row], groups: Sequence[str], people: Sequence[str]) -> list[Hashable]:
    """Return what is alike in the people: the label of their photos, else whether they have many or few."""
    label_of = {group: row.label for row, group in zip(rows, groups, strict=True) if row.label}
    count = Counter(groups)
    middle = (min(count.values()) + max(count.values())) / 2
    many = {person: "many" if count[person] >= middle else "few" for person in people}
    for kinds in (label_of, many):
        if len(kinds) == len(people) and min(Counter(kinds.values()).values()) >= MIN_PEOPLE / 2:
            return [kinds[person] for person in people]
    return ["any"] * len(people)
