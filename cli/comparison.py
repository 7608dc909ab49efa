"""Table of ``skinserve models compare``: metadata and metrics of two checkpoints."""

from pathlib import Path

from cli.text_table import text_table
from models.checkpoint import CheckpointMeta, read_meta
from models.metrics import Metric


def comparison_table(first: Path, second: Path) -> str:
    """Return properties and metrics of two checkpoint folders of one task.

    Raises:
        CheckpointError: a folder is no checkpoint.
    """
    metas = read_meta(first), read_meta(second)
    columns = [_properties(meta, folder) for meta, folder in zip(metas, (first, second), strict=True)]
    summaries = [meta.metrics.summary() for meta in metas]
    rows = [["model", *(f"{meta.name}@{meta.version}" for meta in metas)]]
    rows += [[name, columns[0][name], columns[1][name]] for name in columns[0]]
    rows += [
        [name, *(_metric(summary.get(name)) for summary in summaries)]
        for name in dict.fromkeys([*summaries[0], *summaries[1]])
    ]
    return f"{text_table(rows)}\n\nMetrics with 95% intervals. {_same_data(*metas)}"


def _properties(meta: CheckpointMeta, folder: Path) -> dict[str, str]:
    num_bytes = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    thresholds = ", ".join(f"{name} {value:g}" for name, value in sorted(meta.thresholds.items()))
    return {
        "task": meta.kind,
        "weights sha256": meta.weights_sha256[:12],
        "MB": f"{num_bytes / 1e6:.1f}",
        "input": f"{meta.input_px} px",
        "labels": str(len(meta.labels)),
        "thresholds": thresholds,
        "gate": "none" if meta.gate is None else "yes",
        "int8": "yes" if meta.int8_sha256 else "no",
        "evaluated on": str(getattr(meta.metrics, "split", "")) or "not measured",
    }


def _metric(metric: Metric | None) -> str:
    if metric is None or metric.value is None:
        return "not measured"
    return metric.with_interval() + ("" if metric.n is None else f", n = {metric.n:,}")


def _same_data(first: CheckpointMeta, second: CheckpointMeta) -> str:
    if first.data_fingerprint and first.data_fingerprint == second.data_fingerprint:
        return "Both were trained and evaluated on the same data and split."
    return (
        "Their data and splits differ: measure both on the same photos, with skinserve evaluate or --photos, "
        "before one replaces the other."
    )
