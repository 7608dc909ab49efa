"""How far the labels of a manifest agree with labels that somebody set by hand."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import cohen_kappa_score

from models import storage
from train.data.labels.sentiment import IMPROVED, WORSENED, LabelError, label_of
from train.data.manifest import Row

CLASSES = (IMPROVED, WORSENED)
NUM_RESAMPLES = 10_000
NUM_SHOWN = 20
COLUMNS = ("person", "label")


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """What the manifest says of people against what a hand-checked file says."""

    counts_22: np.ndarray
    """People by the manifest's label (row) and the hand's (column), in the order of ``CLASSES``."""
    kappa: float
    low: float
    high: float
    """The 95% interval of kappa; a bootstrap over people."""
    only_by_hand: tuple[str, ...]
    """Not in the manifest: left out there, or another name."""
    only_in_manifest: tuple[str, ...]

    def text(self) -> str:
        """Return the table for people."""
        n = int(self.counts_22.sum())
        same = int(np.trace(self.counts_22))
        lines = [
            f"Cohen's kappa {self.kappa:.3f}, 95% interval {self.low:.3f} to {self.high:.3f}, n = {n} people",
            f"same label: {same} of {n} ({same / n:.1%})",
            f"{'manifest':<10}{'by hand: ' + IMPROVED:>20}{WORSENED:>12}{'recall':>10}",
        ]
        by_hand_2 = self.counts_22.sum(0)
        for k, name in enumerate(CLASSES):
            recall = f"{self.counts_22[k, k] / by_hand_2[k]:.1%}" if by_hand_2[k] else "-"
            lines.append(f"{name:<10}{self.counts_22[k, 0]:>20}{self.counts_22[k, 1]:>12}{recall:>10}")
        lines += _unmatched("checked by hand, not in the manifest", self.only_by_hand)
        lines += _unmatched("in the manifest, not checked by hand", self.only_in_manifest)
        return "\n".join(lines)


def audit(rows: Sequence[Row], hand: dict[str, str], *, seed: int = 1) -> Agreement:
    """Compare the people that have both labels.

    Args:
        rows: of a manifest from ``skinserve followup``.
        hand: person to "improved" or "worsened", as from ``read_hand``.
        seed: of the bootstrap.

    Raises:
        LabelError: nobody can be compared, or both say the same of everybody, where kappa has no meaning.
    """
    said = {row.person: label_of(row.improvement) for row in rows if row.improvement is not None}
    if not said:
        raise LabelError("the manifest has no labelled people; make one with skinserve followup")
    by_key = {person_key(person): person for person in said}
    checked = {person_key(person): (person, label) for person, label in hand.items()}
    both = sorted(by_key.keys() & checked.keys())
    if not both:
        raise LabelError(
            f"none of the {len(hand)} people checked by hand is among the {len(said)} of the manifest; "
            f"name them as the manifest does, such as {min(said)}"
        )
    pairs = [(said[by_key[key]], checked[key][1]) for key in both]
    counts_22 = np.array([[pairs.count((a, b)) for b in CLASSES] for a in CLASSES])
    if len({label for pair in pairs for label in pair}) == 1:
        raise LabelError(
            f"manifest and hand both say {pairs[0][0]} of all {len(pairs)} people; kappa needs both kinds, "
            "check more people by hand"
        )
    resampled_R22 = np.random.default_rng(seed).multinomial(
        len(pairs), (counts_22 / len(pairs)).ravel(), size=NUM_RESAMPLES
    )
    low, high = np.nanpercentile(kappa_of(resampled_R22.reshape(-1, 2, 2)), [2.5, 97.5])
    return Agreement(
        counts_22=counts_22,
        kappa=float(cohen_kappa_score(*zip(*pairs, strict=True))),
        low=float(low),
        high=float(high),
        only_by_hand=tuple(sorted(checked[key][0] for key in checked.keys() - by_key.keys())),
        only_in_manifest=tuple(sorted(by_key[key] for key in by_key.keys() - checked.keys())),
    )


def kappa_of(counts_R22: np.ndarray) -> np.ndarray:
    """Return Cohen's kappa of each table; NaN where both say the same of everybody."""
    n_R = counts_R22.sum((1, 2))
    agreed_R = np.trace(counts_R22, axis1=1, axis2=2) / n_R
    by_chance_R = (counts_R22.sum(1) * counts_R22.sum(2)).sum(1) / n_R**2
    defined_R = by_chance_R < 1
    room_R = np.where(defined_R, 1 - by_chance_R, 1)
    return np.where(defined_R, (agreed_R - by_chance_R) / room_R, np.nan)


def read_hand(address: str) -> dict[str, str]:
    """Read a CSV with the columns person and label.

    Raises:
        LabelError: another layout, another label, or two labels for one person.
        models.storage.StorageError: the file cannot be read.
    """
    try:
        text = storage.read_bytes(address).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LabelError(f"{address} is not UTF-8; save it as CSV in UTF-8") from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise LabelError(f"{address} has no column {', '.join(missing)}; it needs {', '.join(COLUMNS)}")
    hand: dict[str, str] = {}
    first_person: dict[str, str] = {}
    for number, row in enumerate(reader, start=2):
        person, label = (row["person"] or "").strip(), (row["label"] or "").strip().lower()
        if not person or label not in CLASSES:
            raise LabelError(
                f"{address}, row {number}: the label is {label!r}, need a person and {' or '.join(CLASSES)}; "
                "take people out of whom you cannot say"
            )
        person = first_person.setdefault(person_key(person), person)
        if hand.setdefault(person, label) != label:
            raise LabelError(f"{address}, row {number}: this person was {hand[person]} further up; keep one")
    return hand


def person_key(person: str) -> str:
    """Return what is equal for user_000000000012, 000000000012 and 12."""
    bare = person.removeprefix("user_")
    return str(int(bare)) if bare.isascii() and bare.isdigit() else person


def _unmatched(what: str, people: Sequence[str]) -> list[str]:
    if not people:
        return []
    more = f" and {len(people) - NUM_SHOWN:,} more" if len(people) > NUM_SHOWN else ""
    return [f"{what}: {len(people):,} ({', '.join(people[:NUM_SHOWN])}{more})"]
