"""Model card of this recipe's lesion network: the common card and the metrics by source."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from models.checkpoint import CheckpointMeta
from models.lesion.metrics import LesionMetrics, SourceMetrics
from train.data.manifest import Row
from train.lesion.model_card import lesion_card

SECTIONS = Path(__file__).with_name("model_card.md")


def recipe_card(meta: CheckpointMeta, metrics: LesionMetrics, train_rows: Sequence[Row]) -> str:
    """Return the model card, Markdown."""
    sections = SECTIONS.read_text(encoding="utf-8").format(
        threshold=meta.thresholds["malignant"],
        by_source=_table(metrics.by_source),
        test_by_source=_table(metrics.test_by_source),
        silent_misses="\n".join(
            f"| {change} | {share.n} | {share.with_interval()} |"
            for change, share in metrics.silent_misses.items()
        ),
    )
    return f"{lesion_card(meta, metrics, train_rows).rstrip()}\n\n{sections}"


def _table(by_source: Mapping[str, SourceMetrics]) -> str:
    columns = ("auroc", "sensitivity", "specificity", "balanced_accuracy", "risk_ece")
    return "\n".join(
        f"| {source} | {found.n} | {found.num_malignant} | "
        + " | ".join(getattr(found, column).with_interval() for column in columns)
        + " |"
        for source, found in by_source.items()
    )
