"""The main metrics of a network as readable lines; its model card has all of them."""

from collections.abc import Mapping
from typing import Any

from serve.schemas import LoadedModel

_RISK = {
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "balanced_accuracy": "Balanced accuracy",
    "auroc": "AUROC",
}
_DIAGNOSIS = {"balanced_accuracy": "Balanced accuracy", "macro_auroc": "Macro AUROC"}
_PROGRESS = {"balanced_accuracy": "Balanced accuracy", "auroc": "AUROC"}


def metric_lines(model: LoadedModel) -> list[tuple[str, list[str]]]:
    """Return headings, each with lines such as "Sensitivity 0.87 (95% interval 0.81 to 0.92, n 134)"."""
    if model.kind == "progress":
        return [("Improved or worsened", _lines(model.metrics, _PROGRESS))]
    return [
        ("Benign or malignant", _lines(model.metrics.get("risk", {}), _RISK)),
        ("Diagnosis", _lines(model.metrics.get("diagnosis", {}), _DIAGNOSIS)),
    ]


def measured_on(metrics: Mapping[str, Any]) -> str:
    """Return the size and the kind of the data behind the metrics."""
    return f"{metrics['n']:,} samples: {metrics['split']}" if {"n", "split"} <= metrics.keys() else "unknown"


def _lines(metrics: Mapping[str, Any], names: Mapping[str, str]) -> list[str]:
    named = [(name, metrics[key]) for key, name in names.items() if key in metrics]
    recalls = [(f"Recall of {label}", recall) for label, recall in metrics.get("recall", {}).items()]
    return [_line(name, metric) for name, metric in named + recalls]


def _line(name: str, metric: Mapping[str, Any]) -> str:
    if metric["value"] is None:
        return f"{name} not defined"
    has_interval = metric.get("low") is not None and metric.get("high") is not None
    notes = [f"95% interval {metric['low']:.2f} to {metric['high']:.2f}"] if has_interval else []
    if metric.get("n") is not None:
        notes.append(f"n {metric['n']:,}")
    return f"{name} {metric['value']:.2f}" + (f" ({', '.join(notes)})" if notes else "")
