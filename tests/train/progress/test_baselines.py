"""Judges of series in which the answer is known: grey faces that get a red spot, or lose it."""

import numpy as np
import pytest

from models.progress.engine import ProgressEngine, ProgressOutput, load_progress_engine
from tests.random_checkpoints import write_progress
from train.progress.baselines import compare, spread, spreads
from train.progress.series import Series


class RednessEngine(ProgressEngine):
    """Stands in for a trained network: it says improved where the last face is less red than the first."""

    def __init__(self) -> None:
        pass

    def __call__(self, photos_BTHWC: np.ndarray, present_BT: np.ndarray) -> ProgressOutput:
        faces_THWC = photos_BTHWC[0][present_BT[0]].astype(float)
        red_T = (faces_THWC[..., 0] - faces_THWC[..., 1]).mean((1, 2))
        probability = 1 / (1 + np.exp(10 * (red_T[-1] - red_T[0])))
        return ProgressOutput(improved_BT=np.full((1, len(present_BT[0])), probability))


def course(redness: list[float], *, seed: int, person: str) -> Series:
    """Spots in places of this series' own, as red as is said at each photo; 40 px."""
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


def courses(first_seed: int) -> list[Series]:
    """Half of them improve; where they start says nothing about the end."""
    made: list[Series] = []
    for number in range(40):
        rng = np.random.default_rng([first_seed, number])
        low = rng.uniform(0, 0.5)
        rising = [low, low + 0.25, low + 0.5]
        redness = rising if number % 2 else rising[::-1]
        made.append(course(redness, seed=first_seed + number, person=f"p{number % 3}"))
    return made


def test_judges_that_see_the_change_beat_those_that_cannot():
    judges = compare(RednessEngine(), courses(100), courses(500))

    found = {name: figures["balanced_accuracy"]["value"] for name, figures in judges.items()}
    assert found["majority"] == 0.5
    assert 0.5 < found["last_photo"] < found["first_minus_last"]
    assert found["convlstm"] == 1.0
    assert found["convlstm_shuffled_photos"] < 0.75
    assert judges["majority"]["recall"]["improved"]["value"] + judges["majority"]["recall"]["worsened"][
        "value"
    ] == pytest.approx(1)


def test_an_engine_that_is_sure_of_steady_faces_is_found_out(tmp_path):
    steady = [course([0.4] * 3, seed=seed, person=f"p{seed % 2}") for seed in range(6)]
    relapsing = [course([0.0, 0.3 * (-1) ** seed + 0.3], seed=seed, person="p0") for seed in range(6)]

    calm, sure = spread(RednessEngine(), steady), spread(RednessEngine(), relapsing)

    assert calm["outside_0.2_to_0.8"]["value"] <= sure["outside_0.2_to_0.8"]["value"]
    assert calm["std"]["value"] < sure["std"]["value"]
    assert (calm["n"], calm["num_people"]) == (6, 2)


def test_kinds_without_series_are_not_reported(tmp_path):
    engine = load_progress_engine(write_progress(tmp_path))
    faces = [
        Series(
            photos_THWC=np.zeros((2, 80, 80, 3), np.uint8),
            present_T=np.ones(2, bool),
            improvement_T=np.full(2, 0.5, np.float32),
            person="anna",
        )
    ] * 2

    found = spreads(engine, {"undrawn": faces, "drawn": []})

    assert set(found) == {"undrawn"}
    assert found["undrawn"]["std"]["value"] == 0.0


@pytest.mark.parametrize(("num_train", "judges"), [(0, set()), (20, {"majority"})])
def test_judges_that_cannot_learn_are_left_out(num_train: int, judges: set[str]):
    improving = [one for one in courses(100) if one.improved][:num_train]

    found = compare(RednessEngine(), improving, courses(500))

    assert set(found) == judges | {"convlstm", "convlstm_shuffled_photos"}


def test_series_of_one_verdict_have_no_recall_of_the_other():
    improving = [one for one in courses(500) if one.improved]

    judges = compare(RednessEngine(), courses(100), improving)

    assert judges["convlstm"]["recall"]["improved"]["value"] == 1.0
    assert judges["convlstm"]["recall"]["worsened"]["value"] is None
