"""From photos on disk to a checkpoint that the engine loads, in one short run without Ray."""

from dataclasses import replace
from pathlib import Path

import pytest

from models.checkpoint import read_meta, read_model_card
from models.engine import load_lesion_engine
from models.images import decode_square
from train.config import LesionTraining
from train.data import read_manifest, split_by_group
from train.worker import run_lesion
from ui.examples import draw_lesion


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> LesionTraining:
    folder = tmp_path_factory.mktemp("training")
    lines = ["image,label,group"]
    for number in range(16):
        draw_lesion(seed=number, size_px=64).save(folder / f"{number}.jpg")
        lines.append(f"{number}.jpg,{('nv', 'mel')[number % 2]},{number}")
    (folder / "manifest.csv").write_text("\n".join(lines))
    return LesionTraining(
        manifest=folder / "manifest.csv",
        run=folder / "run",
        input_px=32,
        start_px=32,
        num_epochs=2,
        batch_size=4,
        val_fraction=0.25,
        bf16=False,
    )


@pytest.fixture(scope="module")
def checkpoint(config: LesionTraining) -> Path:
    return run_lesion(config)


def test_a_run_ends_in_a_checkpoint_that_answers(checkpoint: Path, config: LesionTraining):
    engine = load_lesion_engine(checkpoint)
    photo = decode_square((config.manifest.parent / "3.jpg").read_bytes(), side_px=engine.meta.input_px)

    assert engine(photo.image_HWC[None]).diagnosis_BK.shape == (1, 2)
    assert engine.meta.labels == ("Nevus", "Melanoma")
    assert engine.meta.groups == {"Nevus": "benign", "Melanoma": "malignant"}


def test_its_meta_says_what_it_was_made_from(checkpoint: Path, config: LesionTraining):
    meta = read_meta(checkpoint)
    split = split_by_group(read_manifest(config.manifest), val_fraction=0.25, seed=config.seed)

    assert meta.data_fingerprint == split.fingerprint
    assert meta.metrics["n"] == len(split.val) == meta.training["num_val"]
    assert meta.training["num_train"] == len(split.train)
    assert str(config.manifest.parent) not in meta.model_dump_json()


def test_its_card_states_figures_licence_and_that_it_is_no_device(checkpoint: Path, config: LesionTraining):
    card = read_model_card(checkpoint)

    assert "not a medical device" in card
    assert config.data_licence in card
    assert "balanced accuracy" in card


def test_a_finished_run_is_not_trained_again(checkpoint: Path, config: LesionTraining):
    before = read_meta(checkpoint)
    epochs = (config.run / "log.jsonl").read_text()

    run_lesion(config)

    assert (config.run / "log.jsonl").read_text() == epochs
    assert read_meta(checkpoint).weights_sha256 == before.weights_sha256


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"val_fraction": 1.0}, "val_fraction is 1.0"),
        ({"start_px": 200}, "start_px is 200"),
        ({"num_epochs": 0}, "must be positive"),
    ],
)
def test_settings_without_sense_are_refused(config: LesionTraining, change: dict[str, float], message: str):
    with pytest.raises(ValueError, match=message):
        replace(config, **change)
