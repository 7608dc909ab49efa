"""Model card of a progress checkpoint, from the template ``model_card.md``."""

from collections.abc import Mapping
from pathlib import Path

from models.checkpoint import CheckpointMeta
from models.progress.metrics import BaselineMetrics, NoChangeMetrics, ProgressMetrics
from train.pretrained import initialization_of
from train.progress.baselines import MODEL_NAMES, NO_CHANGE_NAMES, NOT_FITTED, RENDERER_NAMES
from train.progress.calibration import MAX_CALLED
from train.progress.evaluation_series import UNCLEAR
from train.report.html_report import number

PROGRESS_CARD = Path(__file__).with_name("model_card.md")
SYNTHETIC_DATA = """There is no public set of face photos labelled improved or worsened, so **all lesions in
training and in the metrics below are synthetic**: red papules and patches whose number, size and redness rise
or fall, on photos of real people taken on different days in different light. The few photos that are too dark
to show a lesion are left out. {altered_chance:.0%} of the training photos were altered (`altered_chance`):
other light, distance, blur, glasses, compression."""
REAL_DATA = """Follow-up photos of people, labelled improved or worsened from their doctors' latest notes."""
SYNTHETIC_NOTE = """The visibility of the synthetic lesions was set while looking at all people. It has a
large effect on these metrics."""
SYNTHETIC_LIMITS = """No real course of a skin disease was part of training or evaluation: the metrics measure
how well the network detects changes of synthetic lesions on unseen people."""
THIRD_VERDICT = """Between the thresholds the verdict is no clear change."""
NO_THIRD_VERDICT = """Unchanged skin has a probability near one half: read 0.2 to 0.8 as "no clear change"."""
REAL_LIMITS = """The labels are a machine's reading of doctors' notes, not a diagnosis from the photos."""


def progress_card(meta: CheckpointMeta, metrics: ProgressMetrics, *, real: bool) -> str:
    """Return the model card, Markdown.

    Args:
        real: the series are labelled by doctors' notes, not synthetic.
    """
    by_photos = [
        f"| {name} photos with a face | {metric.n} | {number(metric.value)} |"
        for name, metric in metrics.balanced_accuracy_by_photos.items()
    ]
    return PROGRESS_CARD.read_text(encoding="utf-8").format(
        meta=meta,
        metrics=metrics,
        start=initialization_of(meta.training),
        data=REAL_DATA if real else SYNTHETIC_DATA.format(altered_chance=_altered_chance(meta)),
        note="" if real else SYNTHETIC_NOTE,
        left_out=_left_out(metrics.num_without_verdict or 0),
        limits=REAL_LIMITS if real else SYNTHETIC_LIMITS,
        balanced_accuracy=metrics.balanced_accuracy.with_interval(),
        balanced_accuracy_over_people=metrics.balanced_accuracy_over_people.with_interval(),
        auroc=metrics.auroc.with_interval(),
        recall={label: recall.with_interval() for label, recall in metrics.recall.items()},
        by_photos="\n".join(by_photos),
        baselines=_baselines_table(metrics.baselines),
        no_change=_no_change_table(metrics.no_change),
        verdicts=_verdicts_table(meta, metrics),
        third_verdict=THIRD_VERDICT if "worsened" in meta.thresholds else NO_THIRD_VERDICT,
    )


def _altered_chance(meta: CheckpointMeta) -> float:
    """Return the setting of the training run; runs before it existed altered no photo."""
    return float(meta.training.get("drawing", {}).get("altered_chance", 0))


def _verdicts_table(meta: CheckpointMeta, metrics: ProgressMetrics) -> str:
    cross_fitted = metrics.verdicts.get("cross_fitted")
    if cross_fitted is None:
        return ""
    by_person = ", ".join(
        f"{person} {share:.2f}" for person, share in cross_fitted.called_by_person.get("undrawn", {}).items()
    )
    return "\n".join(
        [
            f"Verdicts: improved from {meta.thresholds['improved']:.3f}, worsened from "
            f"{meta.thresholds['worsened']:.3f} of its probability, else no clear change. The thresholds "
            f"call at most {MAX_CALLED:.0%} of the series of unchanged real photos, as taken and altered, "
            "each person weighing the same. In this table they were fitted without the person of each series "
            "(cross-fitted).\n",
            "| series without a change | called improved or worsened | series |",
            "|---|---|---|",
            *(
                f"| {NO_CHANGE_NAMES[kind]} | {rate.with_interval()} | {rate.n} |"
                for kind, rate in cross_fitted.called.items()
            ),
            f"\nBy person, different real photos: {by_person}.\n",
            "| series with a change | right verdict | opposite verdict | series |",
            "|---|---|---|---|",
            *(
                f"| {RENDERER_NAMES[kind]} | {rate.with_interval()} "
                f"| {cross_fitted.opposite[kind].with_interval()} | {rate.n} |"
                for kind, rate in cross_fitted.found.items()
            ),
        ]
    )


def _left_out(num_series: int) -> str:
    if not num_series:
        return ""
    low, high = UNCLEAR
    return f"{num_series} more are not scored: their label is between {low} and {high}."


def _baselines_table(baselines: Mapping[str, BaselineMetrics]) -> str:
    if not baselines:
        return ""
    rows = [
        f"| {MODEL_NAMES[name]} | {metrics.balanced_accuracy.with_interval()} "
        f"| {number(metrics.recall['worsened'].value)} |"
        for name, metrics in baselines.items()
    ]
    return "\n".join(
        [
            "Baseline models on the same series; people are resampled:\n",
            "| model | balanced accuracy | recall of worsened |",
            "|---|---|---|",
            *rows,
            *([] if "last_photo" in baselines else [f"\n{NOT_FITTED}"]),
        ]
    )


def _no_change_table(controls: Mapping[str, NoChangeMetrics]) -> str:
    if not controls:
        return ""
    rows = [
        f"| {NO_CHANGE_NAMES[kind]} | {metrics.n} | {number(metrics.mean.value)} "
        f"| {metrics.std.with_interval()} | {metrics.confident_share.with_interval()} |"
        for kind, metrics in controls.items()
    ]
    return "\n".join(
        [
            "No-change controls: the probability p of improved should be one half; people are resampled:\n",
            "| series of | number | mean of p | standard deviation of p | share outside 0.2 to 0.8 |",
            "|---|---|---|---|---|",
            *rows,
        ]
    )
