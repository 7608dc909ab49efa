"""Evaluate a released progress checkpoint again; renew the metrics in ``meta.json`` and the model card.

``python -m scripts.renew_progress_metrics weights/progress data/faces/manifest.parquet split.parquet``.
Weights and thresholds stay as they are. The metrics are those of a release: thresholds are cross-fitted.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from models.checkpoint import CARD, META, read_meta
from models.errors import EXIT_DONE, command
from models.progress.engine import load_progress_engine
from models.progress.metrics import ProgressMetrics
from train.data.manifest import read_manifest
from train.data.split import read_split
from train.progress.evaluation import NUM_SERIES, drawing_of
from train.progress.evaluation_series import SeriesSource, evaluation_series
from train.progress.model_card import progress_card
from train.progress.release import released_metrics
from train.task import EvaluationError


@dataclass(frozen=True, kw_only=True)
class Renewal:
    """Evaluate a released progress checkpoint again and store the metrics in it."""

    checkpoint: Annotated[Path, tyro.conf.Positional]
    """Folder of the checkpoint; its network was trained on synthetic series."""
    manifest: Annotated[str, tyro.conf.Positional]
    """Manifest of the photos of its training."""
    split: Annotated[str, tyro.conf.Positional]
    """Split of its training."""
    num_series: int = NUM_SERIES
    """Synthetic series and series of unchanged real photos."""


@command("python -m scripts.renew_progress_metrics")
def main(prog: str, arguments: Sequence[str] | None) -> int:
    """Renew the metrics of the checkpoint that the command line names."""
    settings = tyro.cli(Renewal, args=arguments, prog=prog)
    meta = read_meta(settings.checkpoint)
    split = read_split(read_manifest(settings.manifest), settings.split)
    if split.fingerprint != meta.data_fingerprint:
        raise EvaluationError(
            f"{settings.split} has fingerprint {split.fingerprint[:12]}, {settings.checkpoint} was trained "
            f"on {meta.data_fingerprint[:12]}; give the manifest and the split of its training"
        )
    engine = load_progress_engine(settings.checkpoint, device="cpu")
    source = SeriesSource(
        faces="",
        drawing=drawing_of(meta),
        size_px=meta.input_px,
        seed=int(meta.training.get("seed", 0)),
        num_series=settings.num_series,
        device="cpu",
    )
    series = evaluation_series(split.val, split.train, source)
    assert isinstance(meta.metrics, ProgressMetrics)
    fitted, metrics = released_metrics(
        engine, series, difference=meta.metrics.largest_difference_from_training
    )
    print(f"thresholds {meta.thresholds} are kept; these series would give {fitted.stored()}")
    meta = meta.model_copy(update={"metrics": metrics})
    (settings.checkpoint / META).write_text(meta.model_dump_json(indent=2) + "\n", encoding="utf-8")
    card = progress_card(meta, metrics, real=False)
    (settings.checkpoint / CARD).write_text(card, encoding="utf-8")
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
