"""A trained progress network to a checkpoint folder, with the figures of the very weights in it.

Axes: B series, T photo.
"""

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from models.checkpoint import CheckpointMeta, save_checkpoint, unwrap
from models.preprocessing import MEAN, STD
from models.progress.engine import ProgressEngine, load_progress_engine
from models.progress.network import LABELS, ProgressNet
from train.config import ProgressTraining, resolved
from train.data.split import Split
from train.lesion.release import MAX_DIFFERENCE, ReleaseError
from train.metrics import bracketed, progress_metrics
from train.pretrained import pretrained_from
from train.progress.baselines import answers_of, compare, spreads
from train.progress.series import Series, to_batch
from train.report.html_report import number

IMPROVED_THRESHOLD = 0.5
UNCLEAR = (0.25, 0.75)
"""Between these a note says neither that the skin improved nor that it worsened."""
DRAWN_SPLIT = "series drawn on people not seen in training"
REAL_SPLIT = "series of people not seen in training"
JUDGES = {
    "majority": "always the commoner verdict of training",
    "last_photo": "logistic regression on the last face alone",
    "first_minus_last": "logistic regression on the first face minus the last",
    "convlstm": "this network",
    "convlstm_shuffled_photos": "this network, photos shuffled",
}
NOT_FITTED = "The judges that must learn both verdicts are missing: the training people do not show both."
STEADY = {
    "drawn": "drawn lesions that relapse but do not change",
    "undrawn": "different real photos of one person, nothing drawn",
}
DRAWN_DATA = """There is no public set of face photos labelled improved or worsened, so **all lesions in
training and in the figures below are drawn**: red papules and patches whose number, size and redness rise or
fall, on photos of real people taken on different days in different light, less a few so dark that nobody
would see a lesion."""
REAL_DATA = """Follow-up photos of people, labelled improved or worsened from their doctors' latest notes."""
DRAWN_FIGURES = """How visible the drawn lesions are was set while looking at all people, and decides much of
these figures."""
DRAWN_LIMITS = """No real course of a skin disease was seen in training, and none stands behind these figures:
they say how well the network reads drawn lesions on people it does not know."""
REAL_LIMITS = """What a doctor wrote, and how a machine understood it, is not what a doctor sees."""
PROGRESS_CARD = Path(__file__).with_name("model_card.md")


def release_progress(
    net: nn.Module,
    config: ProgressTraining,
    split: Split,
    architecture: dict[str, Any],
    val_series: Sequence[Series],
    notes: Mapping[str, Any],
    *,
    train_series: Sequence[Series] = (),
    steady_series: Mapping[str, Sequence[Series]] | None = None,
    folder: Path | None = None,
) -> Path:
    """Write the checkpoint of a network and return its folder.

    The weights are written beside the folder and measured as the server will run them: by the engine, after
    rounding. Only then do they replace what is there.

    Args:
        val_series: of the split's validation people; real ones without a clear verdict are only counted.
        notes: of the manifest: ``licence`` and ``training_data``, where it has them.
        train_series: of the training people; the simple judges learn from them. None of these, no comparison.
        steady_series: by kind, series of the validation people on which nothing changed.
        folder: where to; ``checkpoint`` in the folder of the run if not given.

    Raises:
        ReleaseError: the checkpoint does not answer as the network does, or no series has a verdict.
    """
    folder = folder or Path(config.run) / "checkpoint"
    real = bool(config.faces)
    scored = with_verdict(val_series, real=real)
    if not scored:
        raise ReleaseError(
            f"none of the {len(val_series)} series to judge by has a clear verdict; nothing was released: "
            "take a split with more people to judge by"
        )

    def figures(engine: ProgressEngine) -> dict[str, Any]:
        metrics = {
            "split": REAL_SPLIT if real else DRAWN_SPLIT,
            "largest_difference_from_training": _difference(engine, net, config.temperature, scored),
            "num_without_verdict": len(val_series) - len(scored),
            **measure_progress(engine, scored),
        }
        if train_series:
            metrics["judges"] = compare(engine, with_verdict(train_series, real=real), scored)
        if steady_series:
            metrics["steady"] = spreads(engine, steady_series)
        return metrics

    meta = _meta(config, split, architecture, notes)
    return _write(tempered(net, config.temperature), meta, figures, folder, device=config.device)


def with_verdict(series: Sequence[Series], *, real: bool) -> list[Series]:
    """Return the series to score: of real ones those labelled clearly, of drawn ones all."""
    low, high = UNCLEAR
    return [one for one in series if not (real and low < one.improvement_T[-1] < high)]


def tempered(net: nn.Module, temperature: float) -> ProgressNet:
    """Return the network with its logits divided by ``temperature``, within the last layer's own weights."""
    inner = deepcopy(unwrap(net))
    assert isinstance(inner, ProgressNet)
    last = inner.head[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight.div_(temperature)
        last.bias.div_(temperature)
    return inner.eval()


def measure_progress(engine: ProgressEngine, series: Sequence[Series]) -> dict[str, Any]:
    """Return the figures of an engine on series that have a verdict."""
    return progress_metrics(
        improved_B=np.array([int(one.improved) for one in series]),
        improved_probability_B=answers_of(engine, series),
        num_photos_B=np.array([one.present_T.sum() for one in series]),
        person_B=np.array([one.person for one in series]),
    )


def _meta(
    config: ProgressTraining, split: Split, architecture: dict[str, Any], notes: Mapping[str, Any]
) -> CheckpointMeta:
    return CheckpointMeta(
        kind="progress",
        name=config.name,
        version=config.version,
        architecture=architecture,
        labels=LABELS,
        groups={},
        input_px=config.input_px,
        mean=MEAN,
        std=STD,
        thresholds={"improved": IMPROVED_THRESHOLD},
        metrics={},
        training=resolved(config)
        | {
            "num_train": len(split.train),
            "num_val": len(split.val),
            "real_series": bool(config.faces),
            "val_people": sorted({row.person for row in split.val}),
        }
        | ({"start": notes["start"]} if notes.get("start") else {}),
        training_data=config.training_data or str(notes.get("training_data") or "not stated"),
        data_fingerprint=split.fingerprint,
        data_licence=config.data_licence or str(notes.get("licence") or "not stated"),
    )


def _write(
    net: ProgressNet,
    meta: CheckpointMeta,
    measure: Callable[[ProgressEngine], dict[str, Any]],
    folder: Path,
    *,
    device: str,
) -> Path:
    """Write and load the checkpoint beside ``folder``, measure it, and only then put it there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".release-") as name:
        scratch = Path(name)
        save_checkpoint(scratch, net, meta, model_card="")
        meta = meta.model_copy(update={"metrics": measure(load_progress_engine(scratch, device=device))})
        save_checkpoint(scratch, net, meta, progress_card(meta))
        folder.mkdir(exist_ok=True)
        for path in scratch.iterdir():
            os.replace(path, folder / path.name)
    return folder


def _difference(
    engine: ProgressEngine, net: nn.Module, temperature: float, series: Sequence[Series]
) -> float:
    """The largest difference between what is served and what was trained; too large a one is refused."""
    expected_B = _trained_answers(unwrap(net).eval(), temperature, series)
    difference = float(np.abs(answers_of(engine, series) - expected_B).max())
    if not difference <= MAX_DIFFERENCE:  # also where it is not a number
        raise ReleaseError(
            f"the checkpoint answers up to {difference:.4f} away from the network it is made of, at most "
            f"{MAX_DIFFERENCE} is rounding; nothing was released: take a state before the network diverged, "
            "or train with more weight decay"
        )
    return round(difference, 6)


@torch.inference_mode()
def _trained_answers(net: nn.Module, temperature: float, series: Sequence[Series]) -> np.ndarray:
    """The probability of improved after the last photo, (B,), by the network before it is written."""
    device = str(next(net.parameters()).device)
    improved = LABELS.index("improved")
    answers: list[float] = []
    for one in series:
        batch = to_batch([one], device)
        logits_BTC = net(batch["photos"], batch["present"])
        answers.append(float((logits_BTC[0, -1] / temperature).softmax(0)[improved]))
    return np.array(answers)


def progress_card(meta: CheckpointMeta) -> str:
    """Return the model card, Markdown."""
    metrics = meta.metrics
    by_photos = [
        f"| {name} photos with a face | {figures['n']} | {figures['value']:.2f} |"
        for name, figures in metrics["balanced_accuracy_by_photos"].items()
    ]
    real = metrics["split"] == REAL_SPLIT
    return PROGRESS_CARD.read_text(encoding="utf-8").format(
        meta=meta,
        start=pretrained_from(meta.training),
        data=REAL_DATA if real else DRAWN_DATA,
        figures_note="" if real else DRAWN_FIGURES,
        left_out=_left_out(metrics["num_without_verdict"]),
        limits=REAL_LIMITS if real else DRAWN_LIMITS,
        figures={
            name: bracketed(metrics[name]) for name in ("balanced_accuracy", "balanced_accuracy_over_people")
        },
        auroc=bracketed(metrics["auroc"]),
        recall={label: bracketed(figure) for label, figure in metrics["recall"].items()},
        by_photos="\n".join(by_photos),
        judges=_judges_table(metrics.get("judges", {})),
        steady=_steady_table(metrics.get("steady", {})),
    )


def _left_out(num_series: int) -> str:
    if not num_series:
        return ""
    low, high = UNCLEAR
    return f"{num_series} more are not scored: their label lies between {low} and {high}."


def _judges_table(judges: Mapping[str, Any]) -> str:
    if not judges:
        return ""
    rows = [
        f"| {JUDGES[name]} | {bracketed(figures['balanced_accuracy'])} "
        f"| {number(figures['recall']['worsened']['value'])} |"
        for name, figures in judges.items()
    ]
    return "\n".join(
        [
            "The same series by simpler judges, people resampled:\n",
            "| judge | balanced accuracy | recall of worsened |",
            "|---|---|---|",
            *rows,
            *([] if "last_photo" in judges else [f"\n{NOT_FITTED}"]),
        ]
    )


def _steady_table(steady: Mapping[str, Any]) -> str:
    if not steady:
        return ""
    rows = [
        f"| {STEADY[kind]} | {figures['n']} | {figures['mean']['value']:.2f} | {bracketed(figures['std'])} "
        f"| {bracketed(figures['outside_0.2_to_0.8'])} |"
        for kind, figures in steady.items()
    ]
    return "\n".join(
        [
            "What it says where nothing changed, which should be one half; people resampled:\n",
            "| series of | how many | mean of p | standard deviation of p | share outside 0.2 to 0.8 |",
            "|---|---|---|---|---|",
            *rows,
        ]
    )
