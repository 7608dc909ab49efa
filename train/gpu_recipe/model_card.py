"""Model card of this recipe's lesion network: the common card and the metrics of the whole pipeline."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from models.checkpoint import CheckpointMeta
from models.lesion.gate import gate_of
from models.lesion.metrics import LesionMetrics, LesionVerdictMetrics, SourceMetrics
from models.metrics import Metric
from train.data.manifest import Row
from train.lesion.model_card import lesion_card

SECTIONS = Path(__file__).with_name("model_card.md")


def recipe_card(meta: CheckpointMeta, metrics: LesionMetrics, train_rows: Sequence[Row]) -> str:
    """Return the model card, Markdown."""
    gate = gate_of(meta)
    assert gate is not None
    sections = SECTIONS.read_text(encoding="utf-8").format(
        gate=gate,
        threshold=meta.thresholds["malignant"],
        verdicts=verdict_table(metrics.verdicts),
        without_lesion=_shares(metrics.verdicts_without_lesion),
        degraded="\n".join(
            f"| {name} | {missed.n} | {missed.with_interval()} | "
            f"{metrics.degraded_inconclusive[name].with_interval()} |"
            for name, missed in metrics.silent_misses.items()
        ),
        rejected=_shares(gate.false_rejections),
        coverage="\n".join(
            f"| {point.coverage:.2f} | {_percent(point.called_benign)} | {_percent(point.called_malignant)} |"
            for point in metrics.risk_by_coverage[::2]
        ),
        by_source=source_table(metrics.by_source),
        test_by_source=source_table(metrics.test_by_source),
    )
    return f"{lesion_card(meta, metrics, train_rows).rstrip()}\n\n{sections}"


def _shares(by_name: Mapping[str, Metric]) -> str:
    return "\n".join(f"| {name} | {one.n} | {one.with_interval()} |" for name, one in by_name.items())


def _percent(share: float | None) -> str:
    return "not defined" if share is None else f"{share:.1%}"


def verdict_table(verdicts: Mapping[str, LesionVerdictMetrics]) -> str:
    """Return the rows of a Markdown table with the errors of the verdicts by source."""
    rows: list[str] = []
    for name, one in verdicts.items():
        shares = (one.called_benign, one.called_malignant, one.inconclusive, one.not_usable)
        cells = " | ".join(metric.with_interval() for metric in shares)
        rows.append(f"| {name} | {one.n} | {one.num_malignant} | {cells} |")
    return "\n".join(rows)


def source_table(by_source: Mapping[str, SourceMetrics]) -> str:
    """Return the rows of a Markdown table with the metrics of each source."""
    columns = ("auroc", "sensitivity", "specificity", "balanced_accuracy", "risk_ece")
    return "\n".join(
        f"| {source} | {found.n} | {found.num_malignant} | "
        + " | ".join(getattr(found, column).with_interval() for column in columns)
        + " |"
        for source, found in by_source.items()
    )
