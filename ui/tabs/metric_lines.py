"""The main metrics of a network as readable lines; its model card has all of them."""

from collections.abc import Mapping

from serve.schemas import LesionMetrics, LoadedModel, Metric, ProgressMetrics
from ui.tabs.verdict_errors import source_name, verdicts_by_kind

_NO_CHANGE_NAMES = {
    "undrawn": "Unchanged photos of one person",
    "altered": "The same, half of the photos altered",
    "drawn": "Drawn lesions that do not change",
}


def metric_lines(model: LoadedModel) -> list[tuple[str, list[str]]]:
    """Return headings, each with lines such as "Sensitivity 0.87 (95% interval 0.81 to 0.92, n 134)"."""
    metrics = model.metrics
    if isinstance(metrics, ProgressMetrics):
        main = {
            "Balanced accuracy, people resampled": metrics.balanced_accuracy_over_people,
            "AUROC": metrics.auroc,
        }
        return [
            ("Improved or worsened, at probability 0.5", _lines(main | _recalls(metrics.recall))),
            ("Series without a change called improved or worsened", _lines(_false_calls(metrics))),
        ]
    if not isinstance(metrics, LesionMetrics):
        return []
    risk = {
        "Sensitivity": metrics.risk.sensitivity,
        "Specificity": metrics.risk.specificity,
        "Balanced accuracy": metrics.risk.balanced_accuracy,
        "AUROC": metrics.risk.auroc,
    }
    diagnosis = {
        "Balanced accuracy": metrics.diagnosis.balanced_accuracy,
        "Macro AUROC": metrics.diagnosis.macro_auroc,
    }
    rejected = model.gate.false_rejections if model.gate else {}
    return [
        *_verdict_lines(metrics),
        ("Lesion photos that the gate rejects, validation set", _lines(_by_source(rejected))),
        ("Benign or malignant", _lines(risk)),
        ("Diagnosis", _lines(diagnosis | _recalls(metrics.diagnosis.recall))),
    ]


def _false_calls(metrics: ProgressMetrics) -> dict[str, Metric]:
    """Return the rates with thresholds that were fitted without each person, else with those stored."""
    verdicts = metrics.verdicts.get("cross_fitted") or metrics.verdicts.get("checkpoint")
    called = verdicts.called if verdicts else {}
    return {name: called[kind] for kind, name in _NO_CHANGE_NAMES.items() if kind in called}


def _verdict_lines(metrics: LesionMetrics) -> list[tuple[str, list[str]]]:
    verdicts = verdicts_by_kind(metrics)
    return [
        (
            "Malignant lesions called benign, test set",
            _lines(_by_source({n: v.called_benign for n, v in verdicts.items()})),
        ),
        (
            "Benign lesions called malignant, test set",
            _lines(_by_source({n: v.called_malignant for n, v in verdicts.items()})),
        ),
        (
            "Inconclusive for any reason, test set",
            _lines(_by_source({n: v.inconclusive for n, v in verdicts.items()})),
        ),
        (
            "Pictures without a lesion that get a verdict, test set",
            _lines(_by_source(metrics.verdicts_without_lesion)),
        ),
    ]


def _by_source(metrics: Mapping[str, Metric]) -> dict[str, Metric]:
    return {source_name(source): metric for source, metric in metrics.items()}


def measured_on(model: LoadedModel) -> str:
    """Return the size and the kind of the data behind the metrics."""
    metrics = model.metrics
    if not isinstance(metrics, LesionMetrics | ProgressMetrics):
        return "unknown"
    return f"{metrics.n:,} samples: {metrics.split or 'unknown'}"


def _recalls(recall: Mapping[str, Metric]) -> dict[str, Metric]:
    return {f"Recall of {label}": metric for label, metric in recall.items()}


def _lines(metrics: Mapping[str, Metric]) -> list[str]:
    return [_line(name, metric) for name, metric in metrics.items()]


def _line(name: str, metric: Metric) -> str:
    if metric.value is None:
        return f"{name} not defined"
    has_interval = metric.low is not None and metric.high is not None
    notes = [f"95% interval {metric.low:.2f} to {metric.high:.2f}"] if has_interval else []
    if metric.n is not None:
        notes.append(f"n {metric.n:,}")
    return f"{name} {metric.value:.2f}" + (f" ({', '.join(notes)})" if notes else "")
