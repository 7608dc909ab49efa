"""Release of a run as a checkpoint."""

from dataclasses import replace
from pathlib import Path

import pytest

from models.lesion.engine_loader import load_lesion_engine
from models.lesion.metrics import LesionMetrics
from train.config import Job, Scale
from train.data.manifest import read_manifest
from train.data.split import split_rows, write_split
from train.launch import launch
from train.lesion.config import LesionTraining
from train.lesion.drawn_lesions import draw_lesion_photos
from train.release import release_run
from train.task import ReleaseError


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> LesionTraining:
    """Settings of a finished run."""
    folder = tmp_path_factory.mktemp("release")
    draw_lesion_photos(folder / "photos", folder / "manifest.parquet", num_photos=32)
    config = LesionTraining(
        manifest=str(folder / "manifest.parquet"),
        run=str(folder / "run"),
        cache=str(folder / "cache"),
        input_px=32,
        start_px=32,
        num_epochs=1,
        batch_size=8,
        mix_share=0.0,
        val_fraction=0.25,
        keep_checkpoints=1,
        bf16=False,
    )
    launch(Job(training=config, scale=Scale(workers=0)))
    return config


def test_a_run_ends_in_a_checkpoint(config: LesionTraining):
    meta = load_lesion_engine(Path(config.run, "checkpoint")).meta

    assert isinstance(meta.metrics, LesionMetrics)
    assert meta.metrics.n == 8 and meta.metrics.diagnosis.balanced_accuracy.value is not None
    assert meta.training["examples_per_step"] == meta.training["batch_size"] == 8
    assert meta.data_licence == "CC0 1.0"
    assert str(Path(config.run).parent) not in meta.model_dump_json()


@pytest.mark.slow
def test_a_longer_run_is_better_than_chance(config: LesionTraining, tmp_path: Path):
    draw_lesion_photos(tmp_path / "photos", tmp_path / "manifest.parquet", num_photos=60)
    longer = replace(
        config, manifest=str(tmp_path / "manifest.parquet"), run=str(tmp_path / "run"), cache="", num_epochs=4
    )

    launch(Job(training=longer, scale=Scale(workers=0)))

    metrics = load_lesion_engine(Path(longer.run, "checkpoint")).meta.metrics
    assert isinstance(metrics, LesionMetrics)
    assert (metrics.diagnosis.balanced_accuracy.value or 0) > 0.5


@pytest.mark.slow
def test_a_run_is_released_again_elsewhere(config: LesionTraining, tmp_path: Path):
    address = release_run(config.run, out=str(tmp_path / "again"))

    first, again = (load_lesion_engine(Path(one)).meta for one in (Path(config.run, "checkpoint"), address))
    assert again == first


@pytest.mark.slow
def test_the_model_card_names_the_initial_weights(config: LesionTraining, tmp_path: Path):
    first = Path(config.run, "checkpoint")
    second = replace(config, run=str(tmp_path / "run"), init=str(first), num_epochs=1, keep_checkpoints=0)

    launch(Job(training=second, scale=Scale(workers=0)))

    origin = "the weights of lesion-reference 2 (sha256 "
    assert "trained at 32 px from random weights" in (first / "MODEL_CARD.md").read_text()
    card = Path(second.run, "checkpoint", "MODEL_CARD.md").read_text()
    assert origin in card and "which began as random weights" in card


def test_a_split_other_than_that_of_training_is_rejected(config: LesionTraining, tmp_path: Path):
    kept = Path(config.run, "split.parquet").read_bytes()
    rows = read_manifest(config.manifest)
    write_split(split_rows(rows, val_fraction=0.25, seed=9), f"{config.run}/split.parquet")
    try:
        with pytest.raises(ReleaseError, match=r"is not the split that .* was trained with"):
            release_run(config.run, out=str(tmp_path / "leaky"))
    finally:
        Path(config.run, "split.parquet").write_bytes(kept)


def test_a_folder_without_a_run_is_rejected(tmp_path: Path):
    with pytest.raises(ReleaseError, match="has no training checkpoint"):
        release_run(str(tmp_path))


def test_gpus_without_ray_workers_are_rejected(config: LesionTraining):
    with pytest.raises(ValueError, match="--gpu is for Ray workers"):
        replace(Scale(), workers=0, gpu=True)
