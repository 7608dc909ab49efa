"""From photos of faces to a progress checkpoint that the engine loads, in one short run."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.checkpoint import load_weights, read_meta, read_model_card
from models.engine import load_progress_engine
from train.config import ProgressTraining
from train.drawing import SequenceDrawing
from train.losses import progress_loss
from train.metrics import interval, interval_over_groups
from train.worker import run_progress
from ui.examples import draw_face


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> ProgressTraining:
    folder = tmp_path_factory.mktemp("faces")
    lines = ["image,label,group"]
    for person in range(6):
        for number in range(2):
            picture = draw_face(spots=0, redness=0, seed=person, size_px=200).crop((number, 0, 200, 200))
            picture.save(folder / f"{person}-{number}.png")
            lines.append(f"{person}-{number}.png,,p{person}")
    (folder / "manifest.csv").write_text("\n".join(lines))
    return ProgressTraining(
        manifest=folder / "manifest.csv",
        run=folder / "run",
        input_px=40,
        num_epochs=2,
        batches_per_epoch=2,
        batch_size=4,
        val_fraction=0.34,
        num_val_sequences=12,
        drawing=SequenceDrawing(num_photos=(2, 4)),
    )


@pytest.fixture(scope="module")
def checkpoint(config: ProgressTraining) -> Path:
    return run_progress(config)


def test_a_run_ends_in_a_checkpoint_that_answers(checkpoint: Path):
    engine = load_progress_engine(checkpoint)

    answer = engine(np.zeros((1, 3, 40, 40, 3), np.uint8), np.array([[True, True, False]]))

    assert answer.improved_BT.shape == (1, 3)
    assert engine.meta.labels == ("worsened", "improved")


def test_meta_and_card_say_what_was_measured(checkpoint: Path, config: ProgressTraining):
    meta, card = read_meta(checkpoint), read_model_card(checkpoint)

    assert meta.metrics["n"] == 12
    assert meta.metrics["num_people"] == len(meta.training["val_people"]) == 3
    assert set(meta.metrics["recall"]) == {"worsened", "improved"}
    assert "all lesions" in card.replace("\n", " ") and "not a medical device" in card
    assert str(config.manifest.parent) not in meta.model_dump_json() + card


def test_a_run_that_was_stopped_ends_as_one_that_was_not(checkpoint: Path, config: ProgressTraining):
    stopped = replace(config, run=config.run.parent / "stopped")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.worker.report_epoch", _stop)
        with pytest.raises(KeyboardInterrupt):
            run_progress(stopped)
    again = run_progress(stopped)

    whole, resumed = (load_weights(folder, read_meta(folder)) for folder in (checkpoint, again))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def test_loss_counts_present_photos_and_the_last_one():
    logits_BTC = torch.tensor([[[0.0, 0.0], [0.0, 3.0], [9.0, 0.0], [0.0, 3.0]]])
    present_BT = torch.tensor([[True, True, False, False]])
    improvement_BT = torch.tensor([[0.5, 1.0, 1.0, 1.0]])
    right = torch.tensor([0.0, 3.0]).log_softmax(0)[1].item()

    assert progress_loss(logits_BTC, present_BT, improvement_BT).item() == pytest.approx(-right)
    mean = progress_loss(logits_BTC, present_BT, improvement_BT, last_photo_weight=0.0).item()
    assert mean == pytest.approx((np.log(2) - right) / 2)


def test_people_who_disagree_widen_the_interval():
    right_B = np.repeat([1.0, 1.0, 0.0], 50)
    person_B = np.repeat(["anna", "ben", "carl"], 50)

    def accuracy(index: np.ndarray) -> float:
        return float(right_B[index].mean())

    over_series = interval(accuracy, np.zeros(150))
    over_people = interval_over_groups(accuracy, person_B)

    assert over_series["value"] == over_people["value"] == 0.6667
    assert over_people["low"] < over_series["low"] < over_series["high"] < over_people["high"]
