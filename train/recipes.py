"""Named, complete settings: ``skinserve train NAME`` starts from one of these."""

from pathlib import Path

from train.config import LesionJob, LesionTraining, ProgressJob, ProgressTraining, Training
from train.lesion.drawn_lesions import draw_spots

SMOKE_MANIFEST = "runs/smoke/manifest.parquet"

RECIPES = {
    "lesion": (
        "Lesion network: from random weights two hours and a half on one CPU core.",
        LesionJob(training=LesionTraining()),
    ),
    "progress": (
        "Progress network on drawn series: a quarter of an hour on one CPU core.",
        ProgressJob(training=ProgressTraining()),
    ),
    "followup": (
        "Progress network on real series that skinserve extract-faces has cut.",
        ProgressJob(
            training=ProgressTraining(
                manifest="data/followup/manifest.parquet",
                faces="data/followup/faces",
                run="runs/followup",
                name="progress-followup",
                version="1",
                num_epochs=30,
                last_photo_weight=1.0,
            )
        ),
    ),
    "smoke": (
        "Lesion network on drawn pictures in under a minute: shows that machine and cluster can train.",
        LesionJob(
            training=LesionTraining(
                manifest=SMOKE_MANIFEST,
                run="runs/smoke",
                cache="runs/smoke/cache",
                name="lesion-smoke",
                version="0",
                input_px=32,
                start_px=32,
                num_epochs=2,
                batch_size=16,
            )
        ),
    ),
}


def draw_smoke_photos(training: Training) -> None:
    """Draw the pictures of the smoke recipe if they are not there; does nothing for other manifests."""
    manifest = Path(training.manifest)
    if (
        training.name == "lesion-smoke"
        and not manifest.is_file()
        and manifest.as_posix().endswith(SMOKE_MANIFEST)
    ):
        draw_spots(manifest.parent / "photos", manifest, num_photos=120)
