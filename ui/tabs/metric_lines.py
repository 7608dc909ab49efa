"""The main metrics of a network as readable lines; its model card has all of them."""

from collections.abc import Iterable, Mapping

from babel.numbers import format_decimal

from serve.schemas import LesionMetrics, LoadedModel, Metric, ProgressMetrics
from ui.tabs.verdict_errors import source_name, verdicts_by_kind
from ui.translation import DEFAULT_LANGUAGE, N_, translations

_NO_CHANGE_NAMES = {
    "undrawn": N_("Unchanged photos of one person"),
    "altered": N_("The same, half of the photos altered"),
    "drawn": N_("Drawn lesions that do not change"),
}
_RECALL = N_("Recall of %(label)s")
_LABELS = {"improved": N_("improved"), "worsened": N_("worsened")}
_NamedMetrics = Iterable[tuple[str, Metric]]


def metric_lines(model: LoadedModel, language: str = DEFAULT_LANGUAGE) -> list[tuple[str, list[str]]]:
    """Return headings, each with lines such as "Sensitivity 0.87 (95% interval 0.81 to 0.92, n 134)"."""
    t = translations(language)
    groups: list[tuple[str, _NamedMetrics]] = []
    if isinstance(model.metrics, ProgressMetrics):
        groups = _progress_groups(model.metrics, language)
    elif isinstance(model.metrics, LesionMetrics):
        rejected = model.gate.false_rejections if model.gate else {}
        groups = _lesion_groups(model.metrics, rejected, language)
    return [
        (t.gettext(heading), [_line(t.gettext(name), metric, language) for name, metric in metrics])
        for heading, metrics in groups
    ]


def measured_on(model: LoadedModel) -> str:
    """Return the size and the kind of the data behind the metrics, in English as the checkpoint names it."""
    metrics = model.metrics
    if not isinstance(metrics, LesionMetrics | ProgressMetrics):
        return "unknown"
    return f"{metrics.n:,} samples: {metrics.split or 'unknown'}"


def _progress_groups(metrics: ProgressMetrics, language: str) -> list[tuple[str, _NamedMetrics]]:
    main = [
        (N_("Balanced accuracy, people resampled"), metrics.balanced_accuracy_over_people),
        (N_("AUROC"), metrics.auroc),
        *_recalls(metrics.recall, language),
    ]
    return [
        (N_("Improved or worsened, at probability 0.5"), main),
        (N_("Series without a change called improved or worsened"), _false_calls(metrics)),
    ]


def _lesion_groups(
    metrics: LesionMetrics, rejected: Mapping[str, Metric], language: str
) -> list[tuple[str, _NamedMetrics]]:
    risk, diagnosis, verdicts = metrics.risk, metrics.diagnosis, verdicts_by_kind(metrics)
    return [
        (
            N_("Malignant lesions called benign, test set"),
            _by_source({source: one.called_benign for source, one in verdicts.items()}),
        ),
        (
            N_("Benign lesions called malignant, test set"),
            _by_source({source: one.called_malignant for source, one in verdicts.items()}),
        ),
        (
            N_("Inconclusive for any reason, test set"),
            _by_source({source: one.inconclusive for source, one in verdicts.items()}),
        ),
        (
            N_("Pictures without a lesion that get a verdict, test set"),
            _by_source(metrics.verdicts_without_lesion),
        ),
        (N_("Lesion photos that the gate rejects, validation set"), _by_source(rejected)),
        (
            N_("Benign or malignant"),
            [
                (N_("Sensitivity"), risk.sensitivity),
                (N_("Specificity"), risk.specificity),
                (N_("Balanced accuracy"), risk.balanced_accuracy),
                (N_("AUROC"), risk.auroc),
            ],
        ),
        (
            N_("Diagnosis"),
            [
                (N_("Balanced accuracy"), diagnosis.balanced_accuracy),
                (N_("Macro AUROC"), diagnosis.macro_auroc),
                *_recalls(diagnosis.recall, language),
            ],
        ),
    ]


def _false_calls(metrics: ProgressMetrics) -> _NamedMetrics:
    """Return the rates with thresholds that were fitted without each person, else with those stored."""
    verdicts = metrics.verdicts.get("cross_fitted") or metrics.verdicts.get("checkpoint")
    called = verdicts.called if verdicts else {}
    return [(name, called[kind]) for kind, name in _NO_CHANGE_NAMES.items() if kind in called]


def _by_source(metrics: Mapping[str, Metric]) -> _NamedMetrics:
    return [(source_name(source), metric) for source, metric in metrics.items()]


def _recalls(recall: Mapping[str, Metric], language: str) -> _NamedMetrics:
    """Return the recalls with their names already in the language."""
    gettext = translations(language).gettext
    return [
        (gettext(_RECALL) % {"label": gettext(_LABELS.get(label, label))}, metric)
        for label, metric in recall.items()
    ]


def _line(name: str, metric: Metric, language: str) -> str:
    t = translations(language)
    if metric.value is None:
        return t.gettext("%(name)s not defined") % {"name": name}
    notes: list[str] = []
    if metric.low is not None and metric.high is not None:
        ends = {"low": _two_decimals(metric.low, language), "high": _two_decimals(metric.high, language)}
        notes.append(t.gettext("95%% interval %(low)s to %(high)s") % ends)
    if metric.n is not None:
        notes.append(f"n {format_decimal(metric.n, locale=language)}")
    return f"{name} {_two_decimals(metric.value, language)}" + (f" ({', '.join(notes)})" if notes else "")


def _two_decimals(value: float, language: str) -> str:
    return format_decimal(value, "0.00", locale=language)
