"""Weights by which the released diagnoses are ranked (docs/decisions/0033-ranking-of-diagnoses.md)."""

from collections import Counter
from collections.abc import Sequence

from models.diagnoses import GROUPS, find_diagnosis
from train.data.manifest import Row


def ranking_weights(train_rows: Sequence[Row], labels: Sequence[str], exponent: float) -> dict[str, float]:
    """Return the weight of each diagnosis: its share of the training photos to the power of -exponent.

    The most frequent diagnosis has weight 1. The probabilities stay calibrated; only the ranking changes.

    Args:
        exponent: 0 returns no weights, {}.

    Source: post-hoc logit adjustment, Menon et al. 2020, arXiv:2007.07314.
    """
    if not exponent:
        return {}
    counts = Counter(find_diagnosis(row.label).name for row in train_rows if row.label not in GROUPS)
    most = max(counts.values())
    return {label: round((most / max(1, counts[label])) ** exponent, 3) for label in labels}
