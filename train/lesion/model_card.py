"""The model card of a lesion checkpoint: ``model_card.md`` filled in."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from models.checkpoint import CheckpointMeta
from models.diagnoses import find_diagnosis
from train.data.manifest import Row
from train.metrics import bracketed
from train.pretrained import start_of

LESION_CARD = Path(__file__).with_name("model_card.md")


def lesion_card(meta: CheckpointMeta, train_rows: Sequence[Row]) -> str:
    """Return the model card, Markdown."""
    diagnosis, risk, calibration = (meta.metrics[name] for name in ("diagnosis", "risk", "calibration"))
    counts = Counter(find_diagnosis(row.label).name for row in train_rows)
    recalls = [
        f"| {label} | {meta.groups[label]} | {counts[label]} | {figure['n']} | {bracketed(figure)} |"
        for label, figure in diagnosis["recall"].items()
    ]
    num_members = meta.architecture.get("num_members", 1)
    return LESION_CARD.read_text(encoding="utf-8").format(
        meta=meta,
        networks="A ResNet50 with two heads"
        if num_members == 1
        else f"{num_members} ResNet50 with two heads each, "
        "one of each fold, which answer with the mean of their logits",
        start=start_of(meta.training),
        num_labels=len(meta.labels),
        malignant=", ".join(label for label in meta.labels if meta.groups[label] == "malignant"),
        skin_types=_skin_types(train_rows),
        diagnosis={name: bracketed(diagnosis[name]) for name in ("balanced_accuracy", "macro_auroc")},
        risk={name: bracketed(figure) for name, figure in risk.items() if "value" in figure},
        calibration={
            name: bracketed(figure) if isinstance(figure, dict) else f"{figure:.2f}"
            for name, figure in calibration.items()
        },
        chance={"diagnosis": diagnosis["ece_if_calibrated"], "risk": risk["ece_if_calibrated"]},
        threshold=_threshold_rule(meta),
        int8=_cost_of_int8(meta),
        recalls="\n".join(recalls),
    )


def _cost_of_int8(meta: CheckpointMeta) -> str:
    cost = meta.metrics.get("int8")
    if cost is None:
        return "It is served in float32."
    auroc = cost["macro_auroc_difference"]
    return (
        f"The figures are of float32. In 8 bits ({cost['engine']}) "
        + ("" if auroc is None else f"the macro AUROC changes by {auroc}, ")
        + f"the balanced accuracy {'changes ' if auroc is None else ''}by "
        f"{bracketed(cost['balanced_accuracy_difference'])}, and {cost['changed_share']:.1%} of the first "
        "diagnoses are others. "
        + ("A CPU serves it in 8 bits." if cost["passed"] else "That is too much: it is served in float32.")
    )


def _skin_types(rows: Sequence[Row]) -> str:
    counts = Counter(row.skin_type for row in rows if row.skin_type)
    if not counts:
        return "The skin type is recorded for none of them"
    known = ", ".join(f"{name}: {counts[name]}" for name in sorted(counts))
    return f"The skin type (Fitzpatrick) is recorded for {counts.total()} of them: {known}"


def _threshold_rule(meta: CheckpointMeta) -> str:
    wanted = meta.training["min_sensitivity"]
    if wanted is None:
        return (
            f"The verdict is malignant from probability {meta.thresholds['malignant']}; nothing was chosen."
        )
    return (
        f"The verdict is malignant from probability {meta.thresholds['malignant']}: the largest "
        f"threshold whose cross-validated sensitivity on the photos to judge by reaches {wanted:.0%}. "
        "Chosen on these photos, it flatters the sensitivity and specificity at it a little."
    )
