"""Baseline models on series with a known verdict: grey faces that get a red spot, or lose it."""

from pathlib import Path

import numpy as np
import pytest

from models.progress.engine import ProgressEngine, ProgressOutput, load_progress_engine
from tests.random_checkpoints import write_progress
from train.progress.baselines import baseline_metrics, no_change_metrics
from train.progress.series import Series


class RednessEngine(ProgressEngine):
    """Replace a trained network: improved if the last face is less red than the first."""

    def __init__(self) -> None:
        pass

    def __call__(self, photos_BTHWC: np.ndarray, present_BT: np.ndarray) -> ProgressOutput:
        return ProgressOutput(improved_BT=self._improved(photos_BTHWC[present_BT], present_BT))

    def _improved(self, photo_NHWC: np.ndarray, present_BT: np.ndarray) -> np.ndarray:
        red_T = (photo_NHWC[..., 0].astype(float) - photo_NHWC[..., 1]).mean((1, 2))
        probability = 1 / (1 + np.exp(10 * (red_T[-1] - red_T[0])))
        return np.full((1, len(present_BT[0])), probability)


def draw_series(redness: list[float], *, seed: int, person: str) -> Series:
    """Draw red spots at random positions, with the given redness at each photo; 40 px."""
    rng = np.random.default_rng(seed)
    photos_THWC = np.full((len(redness), 40, 40, 3), 150, np.uint8)
    for y, x in rng.integers(8, 32, (6, 2)):
        for photo_HWC, red in zip(photos_THWC, redness, strict=True):
            photo_HWC[y : y + 2, x : x + 2, 1:] = 150 - round(100 * red)
    photos_THWC = photos_THWC + rng.integers(0, 6, photos_THWC.shape, dtype=np.uint8)
    improvement = 0.5 + 0.5 * np.sign(redness[0] - redness[-1])
    return Series(
        photos_THWC=photos_THWC,
        present_T=np.ones(len(redness), bool),
        improvement_T=np.full(len(redness), improvement, np.float32),
        person=person,
    )


def alternating_series(first_seed: int) -> list[Series]:
    """Draw series of which every second improves; the first photo does not determine the verdict."""
    made: list[Series] = []
    for number in range(40):
        rng = np.random.default_rng([first_seed, number])
        low = rng.uniform(0, 0.5)
        rising = [low, low + 0.25, low + 0.5]
        redness = rising if number % 2 else rising[::-1]
        made.append(draw_series(redness, seed=first_seed + number, person=f"p{number % 3}"))
    return made


def test_a_model_that_reads_the_change_beats_those_that_cannot():
    metrics = baseline_metrics(RednessEngine(), alternating_series(100), alternating_series(500))

    found = {name: model.balanced_accuracy.value or 0 for name, model in metrics.items()}
    assert found["majority"] == 0.5
    assert 0.5 < found["last_photo"] < found["first_minus_last"]
    assert found["convlstm"] == 1.0
    assert found["convlstm_shuffled_photos"] < 0.75
    recall = metrics["majority"].recall
    assert {recall["improved"].value, recall["worsened"].value} == {0.0, 1.0}


def test_confident_errors_on_no_change_controls_are_counted():
    steady = [draw_series([0.4] * 3, seed=seed, person=f"p{seed % 2}") for seed in range(6)]
    relapsing = [draw_series([0.0, 0.3 * (-1) ** seed + 0.3], seed=seed, person="p0") for seed in range(6)]

    found = no_change_metrics(RednessEngine(), {"steady": steady, "relapsing": relapsing})

    unsure, confident = found["steady"], found["relapsing"]
    assert (unsure.confident_share.value or 0) <= (confident.confident_share.value or 0)
    assert (unsure.std.value or 0) < (confident.std.value or 0)
    assert (unsure.n, unsure.num_people) == (6, 2)


def test_kinds_of_controls_without_series_are_omitted(tmp_path: Path):
    engine = load_progress_engine(write_progress(tmp_path))
    faces = [
        Series(
            photos_THWC=np.zeros((2, 80, 80, 3), np.uint8),
            present_T=np.ones(2, bool),
            improvement_T=np.full(2, 0.5, np.float32),
            person="anna",
        )
    ] * 2

    found = no_change_metrics(engine, {"undrawn": faces, "drawn": []})

    assert set(found) == {"undrawn"}
    assert found["undrawn"].std.value == 0.0


@pytest.mark.parametrize(("num_train", "baselines"), [(0, set()), (20, {"majority"})])
def test_baseline_models_that_cannot_be_fitted_are_omitted(num_train: int, baselines: set[str]):
    improving = [one for one in alternating_series(100) if one.improved][:num_train]

    found = baseline_metrics(RednessEngine(), improving, alternating_series(500))

    assert set(found) == baselines | {"convlstm", "convlstm_shuffled_photos"}


def test_series_of_one_verdict_have_no_recall_of_the_other():
    improving = [one for one in alternating_series(500) if one.improved]

    recall = baseline_metrics(RednessEngine(), alternating_series(100), improving)["convlstm"].recall

    assert recall["improved"].value == 1.0
    assert recall["worsened"].value is None
