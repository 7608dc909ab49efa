"""Compare a manifest's labels with labels set by hand: Cohen's kappa and a confusion matrix."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.metrics import Metric
from train.bootstrap import Resamples
from train.data.ingest.tables import read_table
from train.data.labels.sentiment import IMPROVED, WORSENED, LabelError, label_of
from train.data.manifest import Row
from train.metrics import cohen_kappa

CLASSES = (IMPROVED, WORSENED)
NUM_RESAMPLES = 10_000
NUM_SHOWN = 20
COLUMNS = ("person", "label")


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Labels of a manifest compared with labels set by hand."""

    counts_22: np.ndarray
    """People by the manifest's label (row) and the hand's (column), in the order of ``CLASSES``."""
    kappa: Metric
    """The bootstrap resamples people."""
    only_by_hand: tuple[str, ...]
    """People who are not in the manifest under this name."""
    only_in_manifest: tuple[str, ...]

    def text(self) -> str:
        """Return the comparison as lines of text."""
        n = int(self.counts_22.sum())
        same = int(np.trace(self.counts_22))
        kappa = self.kappa
        lines = [
            f"Cohen's kappa {kappa.value:.3f}, 95% interval {kappa.low:.3f} to {kappa.high:.3f}, "
            f"n = {n} people",
            f"same label: {same} of {n} ({same / n:.1%})",
            f"{'manifest':<10}{'by hand: ' + IMPROVED:>20}{WORSENED:>12}{'recall':>10}",
        ]
        by_hand_2 = self.counts_22.sum(0)
        for k, name in enumerate(CLASSES):
            recall = f"{self.counts_22[k, k] / by_hand_2[k]:.1%}" if by_hand_2[k] else "-"
            lines.append(f"{name:<10}{self.counts_22[k, 0]:>20}{self.counts_22[k, 1]:>12}{recall:>10}")
        lines += _unmatched("labelled by hand, not in the manifest", self.only_by_hand)
        lines += _unmatched("in the manifest, not labelled by hand", self.only_in_manifest)
        return "\n".join(lines)


def label_agreement(rows: Sequence[Row], hand: dict[str, str]) -> Agreement:
    """Compare the labels of people with a label from both sources.

    Args:
        rows: of a manifest from ``skinserve followup``.
        hand: person to "improved" or "worsened", as from ``read_hand_labels``.

    Raises:
        LabelError: no person has both labels, or all labels are the same, where kappa is not defined.
    """
    labels = {row.person: label_of(row.improvement) for row in rows if row.improvement is not None}
    if not labels:
        raise LabelError("the manifest has no labelled people; make one with skinserve followup")
    by_key = {person_key(person): person for person in labels}
    checked = {person_key(person): (person, label) for person, label in hand.items()}
    both = sorted(by_key.keys() & checked.keys())
    if not both:
        raise LabelError(
            f"none of the {len(hand)} people labelled by hand is among the {len(labels)} of the manifest; "
            f"name them as the manifest does, such as {min(labels)}"
        )
    manifest_B = np.array([CLASSES.index(labels[by_key[key]]) for key in both])
    hand_B = np.array([CLASSES.index(checked[key][1]) for key in both])
    if len({*manifest_B, *hand_B}) == 1:
        raise LabelError(
            f"manifest and hand both label all {len(both)} people {CLASSES[hand_B[0]]}; kappa needs both "
            "classes: label more people by hand"
        )
    resamples = Resamples(None, np.zeros(len(both), int), num_resamples=NUM_RESAMPLES, seed=1)
    return Agreement(
        counts_22=np.bincount(2 * manifest_B + hand_B, minlength=4).reshape(2, 2),
        kappa=resamples.metric(cohen_kappa(manifest_B, hand_B, len(CLASSES))),
        only_by_hand=tuple(sorted(checked[key][0] for key in checked.keys() - by_key.keys())),
        only_in_manifest=tuple(sorted(by_key[key] for key in by_key.keys() - checked.keys())),
    )


def read_hand_labels(address: str) -> dict[str, str]:
    """Read a CSV with the columns person and label.

    Raises:
        train.data.ingest.tables.IngestError: it is no CSV.
        LabelError: another layout, another label, or two labels for one person.
        models.storage.StorageError: the file cannot be read.
    """
    table = read_table(address)
    missing = [name for name in COLUMNS if name not in table.keys]
    if missing:
        raise LabelError(f"{address} has no column {', '.join(missing)}; it needs {', '.join(COLUMNS)}")
    hand: dict[str, str] = {}
    first_person: dict[str, str] = {}
    for number, cells in enumerate(table.cells, start=2):
        if not any(cells.values()):
            continue
        person, label = cells["person"], cells["label"].lower()
        if not person or label not in CLASSES:
            raise LabelError(
                f"{address}, row {number}: the label is {label!r}, need a person and {' or '.join(CLASSES)}; "
                "leave out people whose label is unclear"
            )
        person = first_person.setdefault(person_key(person), person)
        if hand.setdefault(person, label) != label:
            raise LabelError(
                f"{address}, row {number}: this person was {hand[person]} in an earlier row; keep one"
            )
    return hand


def person_key(person: str) -> str:
    """Return the same key for user_000000000012, 000000000012 and 12."""
    bare = person.removeprefix("user_")
    return str(int(bare)) if bare.isascii() and bare.isdigit() else person


def _unmatched(what: str, people: Sequence[str]) -> list[str]:
    if not people:
        return []
    more = f" and {len(people) - NUM_SHOWN:,} more" if len(people) > NUM_SHOWN else ""
    return [f"{what}: {len(people):,} ({', '.join(people[:NUM_SHOWN])}{more})"]
