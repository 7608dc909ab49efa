"""Split rows by group: photos of one patient, lesion, person or picture stay together."""

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
    """Training set and validation set; no group is in both."""

    train: tuple[Row, ...]
    val: tuple[Row, ...]
    fingerprint: str
    """sha256 over every row and its set."""


def groups_of(rows: Sequence[Row], *, duplicates: Iterable[tuple[int, int]] | None = None) -> list[str]:
    """Return the group name of every row; a split keeps photos of one group together.

    Photos that share a patient, a lesion, a person or a picture are of one group, directly or through others.
    The name of a group is its smallest key: of its patients if it has any, else of its lesions, people or
    photos. The result does not depend on the order of the rows.

    Args:
        duplicates: pairs of rows with the same picture; by default they are searched.
    """
    if duplicates is None:
        duplicates = find_duplicates([row.thumbnail for row in rows])
    keys = [_keys(row) for row in rows]
    links = [(own[0], other) for own in keys for other in own]
    links += [(keys[i][0], keys[j][0]) for i, j in duplicates]
    smallest = _smallest_linked(links)
    return [":".join(smallest[own[0]][1:]) for own in keys]


def split_rows(rows: Sequence[Row], *, val_fraction: float, seed: int) -> Split:
    """Split by group, stratified by label.

    Raises:
        ManifestError: a row has no label, or some label has too few groups for both sets.
    """
    return fold_rows(rows, num_folds=max(2, round(1 / val_fraction)), seed=seed)[0]


def fold_rows(rows: Sequence[Row], *, num_folds: int, seed: int) -> list[Split]:
    """Return the splits of a cross-validation; every row is in exactly one validation set.

    Raises:
        ManifestError: a row has no label, or there are too few groups, of all or of some label.
    """
    groups = groups_of(rows)
    labels = [row.label for row in rows]
    _check_folds(labels, groups, num_folds)
    # Folds are assigned without regard to duplicates, and a group then goes to the fold of its smallest key:
    # one more duplicate moves one photo and does not change the other folds.
    keyed = groups_of(rows, duplicates=())
    folds = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed).split(labels, labels, keyed)
    fold_of = {keyed[i]: number for number, (_, val_index) in enumerate(folds) for i in val_index}
    return [
        _split(rows, {i for i, group in enumerate(groups) if fold_of[group] == number})
        for number in range(num_folds)
    ]


def split_people(rows: Sequence[Row], *, val_fraction: float, seed: int) -> Split:
    """Split by person at random, stratified by label or, without labels, by number of photos.

    Unlike ``split_rows`` this counts people, not photos, and another seed holds out other people.

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
    """Write the set of every row and the fingerprint as Parquet."""
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
    """Read the stored split of these rows, in any order.

    Raises:
        ManifestError: there is no split at ``address``, or it is a split of other rows.
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
"""Rank of the kind of key, the kind, and the key itself; patients rank before lesions."""


def _keys(row: Row) -> list[Key]:
    kinds = (("0", "patient", row.patient), ("1", "lesion", row.lesion), ("2", "person", row.person))
    return [key for key in kinds if key[-1]] or [("3", "photo", *_identity(row)[:2])]


def _identity(row: Row) -> tuple[str, ...]:
    """Return the fields of a row that determine the fingerprint."""
    return row.name, row.label, row.patient, row.lesion, row.person


def _smallest_linked(links: Iterable[tuple[Key, Key]]) -> dict[Key, Key]:
    """Return the smallest linked key of every key, directly or through others."""
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
        raise ManifestError(f"{num_folds} folds are requested, at least 2 are needed")
    if "" in labels:
        raise ManifestError(
            f"{labels.count('')} of {len(labels)} rows have no label, first row {labels.index('') + 1}; "
            "label them or remove them from the manifest"
        )
    num_groups = len(set(groups))
    if num_groups == 1:
        raise ManifestError(
            f"all {len(labels)} rows are of one group, {groups[0]}; a split needs photos of several patients"
        )
    if num_groups < num_folds:
        raise ManifestError(
            f"{num_folds} folds need as many groups, the manifest has {num_groups}; use fewer folds"
        )
    groups_of_label = Counter(label for label, _ in set(zip(labels, groups, strict=True)))
    rare = [f"{label} ({count})" for label, count in groups_of_label.items() if count < num_folds]
    if rare:
        raise ManifestError(
            f"{num_folds} folds (or {1 / num_folds:.0%} for validation) need {num_folds} groups of every "
            f"label; too few: {', '.join(rare)}; add photos, use fewer folds or raise --val-fraction"
        )


def _kinds(rows: Sequence[Row], groups: Sequence[str], people: Sequence[str]) -> list[Hashable]:
    """Return each person's stratum: the label, else many or few photos."""
    label_of = {group: row.label for row, group in zip(rows, groups, strict=True) if row.label}
    count = Counter(groups)
    middle = (min(count.values()) + max(count.values())) / 2
    many = {person: "many" if count[person] >= middle else "few" for person in people}
    for kinds in (label_of, many):
        if len(kinds) == len(people) and min(Counter(kinds.values()).values()) >= MIN_PEOPLE / 2:
            return [kinds[person] for person in people]
    return ["any"] * len(people)
