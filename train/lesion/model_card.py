"""Model card of a lesion checkpoint, from the template ``model_card.md``."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from models.checkpoint import CheckpointMeta
from models.diagnoses import GROUPS, find_diagnosis
from models.lesion.metrics import LesionMetrics
from models.metrics import Metric, MetricsModel
from train.data.manifest import Row
from train.lesion.verdict_thresholds import CONFIDENCE, MIN_PHOTOS
from train.pretrained import initialization_of

SCOPE = " The scope head returns the probability that the photo shows a lesion that the network can classify."
LESION_CARD = Path(__file__).with_name("model_card.md")


def lesion_card(meta: CheckpointMeta, metrics: LesionMetrics, train_rows: Sequence[Row]) -> str:
    """Return the model card, Markdown."""
    counts = Counter(find_diagnosis(row.label).name for row in train_rows if row.label not in GROUPS)
    recalls = [
        f"| {label} | {meta.groups[label]} | {counts[label]} | {recall.n} | {recall.with_interval()} |"
        for label, recall in metrics.diagnosis.recall.items()
    ]
    return LESION_CARD.read_text(encoding="utf-8").format(
        meta=meta,
        metrics=metrics,
        networks=_networks(meta),
        start=initialization_of(meta.training),
        num_labels=len(meta.labels),
        malignant=", ".join(label for label in meta.labels if meta.groups[label] == "malignant"),
        skin_types=_skin_types(train_rows),
        diagnosis=_with_intervals(metrics.diagnosis),
        risk=_with_intervals(metrics.risk),
        calibration=_calibration(metrics),
        ranking=_ranking(meta),
        threshold=_threshold_rule(meta),
        int8=_int8_cost(metrics),
        scope=SCOPE if meta.architecture.get("scope_head") else "",
        recalls="\n".join(recalls),
    )


def _networks(meta: CheckpointMeta) -> str:
    heads = "three heads" if meta.architecture.get("scope_head") else "two heads"
    num_members = meta.architecture.get("num_members", 1)
    if num_members == 1:
        return f"A ResNet50 with {heads}"
    return f"An ensemble of {num_members} ResNet50 with {heads} each, one of each fold, with averaged logits"


def _with_intervals(section: MetricsModel) -> dict[str, str]:
    return {name: metric.with_interval() for name, metric in section if isinstance(metric, Metric)}


def _calibration(metrics: LesionMetrics) -> dict[str, str]:
    assert metrics.calibration is not None
    temperatures = {name: f"{value:.2f}" for name, value in metrics.calibration if isinstance(value, float)}
    return temperatures | _with_intervals(metrics.calibration)


def _ranking(meta: CheckpointMeta) -> str:
    if not meta.ranking_weights:
        return ""
    weights = ", ".join(f"{label} {weight:.3g}" for label, weight in meta.ranking_weights.items())
    return (
        "Diagnoses are ranked by the product of probability and weight, so that frequent diagnoses do not "
        "hide rare ones. Recall and balanced accuracy are those of the diagnosis that is ranked first; AUROC "
        f"and calibration are those of the probabilities. Weights: {weights}. They are the shares of the "
        f"training set to the power of {-meta.training['ranking_exponent']:g}, relative to the most frequent "
        "diagnosis.\n\n"
    )


def _int8_cost(metrics: LesionMetrics) -> str:
    cost = metrics.int8
    if cost is None:
        return "It is served in float32."
    auroc = cost.macro_auroc_difference
    return (
        f"The metrics are those of float32. In int8 ({cost.engine}) "
        + ("" if auroc is None else f"the macro AUROC changes by {auroc}, ")
        + f"the balanced accuracy {'changes ' if auroc is None else ''}by "
        f"{cost.balanced_accuracy_difference.with_interval()}, and {cost.changed_share:.1%} of the first "
        "diagnoses change. "
        + ("CPUs serve it in int8." if cost.passed else "That is too much: it is served in float32.")
    )


def _skin_types(rows: Sequence[Row]) -> str:
    counts = Counter(row.skin_type for row in rows if row.skin_type)
    if not counts:
        return "The skin type is not recorded"
    known = ", ".join(f"{name}: {counts[name]}" for name in sorted(counts))
    return f"The skin type (Fitzpatrick) is recorded for {counts.total()} training photos: {known}"


def _threshold_rule(meta: CheckpointMeta) -> str:
    if "benign" in meta.thresholds:
        return _three_way_rule(meta)
    min_sensitivity = meta.training["min_sensitivity"]
    if min_sensitivity is None:
        return (
            f"The verdict is malignant from probability {meta.thresholds['malignant']}, which is not tuned."
        )
    return (
        f"The verdict is malignant from probability {meta.thresholds['malignant']}: the largest threshold "
        f"whose cross-validated sensitivity on the validation set reaches {min_sensitivity:.0%}. It was "
        "chosen on this set, so sensitivity and specificity at this threshold are slightly optimistic."
    )


def _three_way_rule(meta: CheckpointMeta) -> str:
    assert isinstance(meta.metrics, LesionMetrics)
    low, high, bounds = meta.thresholds["benign"], meta.thresholds["malignant"], meta.metrics.error_bounds
    return (
        f"The verdict is benign below probability {low:g}, malignant from {high:g}, and inconclusive between "
        "both. The thresholds were chosen on the validation set along a fixed sequence, one photo for each "
        f"patient or lesion: with a confidence of {CONFIDENCE:.0%}, at most {bounds['called_benign']:.1%} of "
        f"malignant photos are called benign and at most {bounds['called_malignant']:.1%} of benign photos "
        "are called malignant, by upper Clopper-Pearson bounds. The bounds hold for photos like those of the "
        f"validation set, over the sources together and in each source with {MIN_PHOTOS} such photos; "
        "not for another clinic."
    )
