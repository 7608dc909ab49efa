"""Release of a progress network: its checkpoint, metrics, baselines and model card."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch

from models.checkpoint import read_meta, read_model_card
from models.face.detector import MtcnnFaceDetector
from models.preprocessing import normalize
from models.progress.engine import load_progress_engine
from models.progress.metrics import ProgressMetrics
from models.progress.network import ProgressNet
from samples.face import draw_face
from train.data.manifest import Row
from train.data.split import Split
from train.progress.config import ProgressTraining
from train.progress.evaluation import drawing_of
from train.progress.evaluation_series import EvaluationSeries
from train.progress.face_crops import Faces, crop_face
from train.progress.loss import progress_loss
from train.progress.release import release_progress
from train.progress.series import Series
from train.progress.synthetic.generation import (
    no_change_series,
    real_no_change_series,
    training_series,
    validation_series,
)
from train.progress.synthetic.trajectory import SeriesDrawing
from train.task import ReleaseError, TrainedRun

ARCHITECTURE = {"input_px": 40, "filters": (20, 10), "hidden": 8, "dropout": 0.3}
NOTES = {"licence": "CC0 1.0", "training_data": "drawn faces"}


@pytest.fixture(scope="module")
def net() -> ProgressNet:
    torch.manual_seed(0)
    return ProgressNet(**ARCHITECTURE).eval()


@pytest.fixture(scope="module")
def faces() -> Faces:
    detector = MtcnnFaceDetector(num_threads=1)
    found: Faces = {}
    for seed in range(4):
        image_HWC = np.asarray(draw_face(num_lesions=0, redness=0, seed=seed, size_px=200))
        location = detector.detect([image_HWC])[0]
        assert location is not None
        found.setdefault(f"p{seed // 2}", []).append(crop_face(image_HWC, location, served_px=40))
    return found


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> ProgressTraining:
    run = tmp_path_factory.mktemp("run")
    return ProgressTraining(
        run=str(run), input_px=40, hidden=8, drawing=SeriesDrawing(num_photos=(2, 4)), temperature=2.0
    )


NO_ROWS = Split(train=(), val=(), fingerprint="f" * 64)


def run_of(
    net: ProgressNet, config: ProgressTraining, split: Split = NO_ROWS, notes: dict[str, str] | None = None
) -> TrainedRun:
    return TrainedRun(
        config=config, net=net, split=split, architecture=ARCHITECTURE, labels=(), notes=notes or {}
    )


def test_the_recipe_draws_series_as_for_the_shipped_weights():
    shipped = read_meta(Path(__file__).parents[3] / "weights" / "progress")

    assert ProgressTraining().drawing == drawing_of(shipped)


def metrics_of(folder: Path) -> ProgressMetrics:
    metrics = read_meta(folder).metrics
    assert isinstance(metrics, ProgressMetrics)
    return metrics


@pytest.fixture(scope="module")
def checkpoint(net: ProgressNet, faces: Faces, config: ProgressTraining) -> Path:
    rows = tuple(Row(image=f"/{person}.png", label="", person=person) for person in ("p0", "p1", "p2"))
    split = Split(train=rows[2:], val=rows[:2], fingerprint="f" * 64)
    drawn = {"num_series": 12, "seed": 1, "size_px": 40}
    series = EvaluationSeries(
        val=validation_series(faces, config.drawing, **drawn),
        baseline_train=training_series(faces, config.drawing, **drawn),
        no_change={
            "drawn": no_change_series(faces, config.drawing, **drawn),
            "undrawn": real_no_change_series(faces, config.drawing, num_series=6, seed=1),
        },
        real=False,
    )
    folder = Path(config.run, "checkpoint")
    release_progress(run_of(net, config, split, NOTES), series, folder)
    return folder


def test_the_engine_matches_the_network_at_the_temperature(checkpoint: Path, net: ProgressNet):
    photos_BTHWC = np.random.default_rng(0).integers(0, 256, (2, 3, 40, 40, 3), dtype=np.uint8)
    present_BT = np.array([[True, True, False], [True] * 3])

    answer = load_progress_engine(checkpoint)(photos_BTHWC, present_BT)

    with torch.inference_mode():
        logits = net(normalize(torch.from_numpy(photos_BTHWC)), torch.from_numpy(present_BT)) / 2
    np.testing.assert_allclose(answer.improved_BT, logits.softmax(2)[..., 1], atol=0.01)


def test_meta_and_card_state_the_metrics(checkpoint: Path, config: ProgressTraining):
    meta, card, metrics = read_meta(checkpoint), read_model_card(checkpoint), metrics_of(checkpoint)

    assert metrics.n == 12 and metrics.num_without_verdict == 0
    assert metrics.largest_difference_from_training is not None
    assert metrics.largest_difference_from_training < 0.01
    assert metrics.num_people == len(meta.training["val_people"]) == 2
    assert (meta.data_licence, meta.training_data) == ("CC0 1.0", "drawn faces")
    assert metrics.baselines["majority"].balanced_accuracy.value == 0.5
    assert metrics.no_change["undrawn"].n == 6
    assert "all lesions" in card.replace("\n", " ") and "not a medical device" in card
    assert "| this network, photos shuffled |" in card and "without synthetic lesions | 6 |" in card
    assert config.run not in meta.model_dump_json() + card


@pytest.mark.slow
def test_the_card_omits_baselines_and_controls_that_were_not_evaluated(
    net: ProgressNet, faces: Faces, config: ProgressTraining, tmp_path: Path
):
    series = validation_series(faces, config.drawing, num_series=12, seed=1, size_px=40)

    release_progress(
        run_of(net, config), EvaluationSeries(val=series, no_change={}, real=False), tmp_path / "released"
    )

    card = read_model_card(tmp_path / "released")
    assert "Baseline models" not in card and "No-change controls" not in card
    assert "not stated" in card


def labelled(*improvements: float) -> list[Series]:
    """Return one series of each person with the label of the doctor's note, as ``read_series`` does."""
    rng = np.random.default_rng(0)
    return [
        Series(
            photos_THWC=rng.integers(0, 256, (3, 40, 40, 3), dtype=np.uint8),
            present_T=np.ones(3, bool),
            improvement_T=np.full(3, improvement, np.float32),
            person=f"p{number}",
        )
        for number, improvement in enumerate(improvements)
    ]


def real_series(val: list[Series], train: list[Series] | None = None) -> EvaluationSeries:
    return EvaluationSeries(val=val, baseline_train=train or [], no_change={}, real=True)


def test_people_of_one_verdict_are_released_with_the_metrics_that_they_define(
    net: ProgressNet, config: ProgressTraining, tmp_path: Path
):
    series = real_series(labelled(1, 1, 0.75), labelled(1, 1, 0.3))

    release_progress(run_of(net, config), series, tmp_path / "checkpoint")

    metrics, card = metrics_of(tmp_path / "checkpoint"), read_model_card(tmp_path / "checkpoint")
    assert metrics.auroc.value is None and metrics.recall["worsened"].value is None
    assert set(metrics.baselines) == {"majority", "convlstm", "convlstm_shuffled_photos"}
    assert "| recall of worsened | not defined" in card and "does not contain both verdicts" in card


@pytest.mark.slow
def test_real_series_without_a_clear_label_are_counted_not_scored(
    net: ProgressNet, config: ProgressTraining, tmp_path: Path
):
    folder = tmp_path / "checkpoint"

    release_progress(run_of(net, config), real_series(labelled(1, 0, 0.5, 0.26, 0.25)), folder)

    metrics = metrics_of(folder)
    assert (metrics.n, metrics.num_without_verdict) == (3, 2)
    assert "2 more are not scored: their label is between 0.25 and 0.75" in read_model_card(folder)
    with pytest.raises(ReleaseError, match="none of the 2 validation series has a clear verdict"):
        release_progress(run_of(net, config), real_series(labelled(0.5, 0.6)), folder)


@pytest.mark.parametrize(
    "weight",
    [
        pytest.param(1e6, id="too large for float16"),
        pytest.param(float("nan"), id="diverged", marks=pytest.mark.slow),
    ],
)
def test_a_network_that_differs_after_writing_does_not_replace_the_checkpoint(
    net: ProgressNet, config: ProgressTraining, tmp_path: Path, weight: float
):
    folder, series = tmp_path / "checkpoint", real_series(labelled(1, 0))
    release_progress(run_of(net, config), series, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    broken = deepcopy(net)
    with torch.no_grad():
        broken.get_parameter("head.1.weight").fill_(weight)

    with pytest.raises(ReleaseError, match="too large for float16"):
        release_progress(run_of(broken, config), series, folder)

    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_loss_counts_present_photos_and_the_last_one():
    logits_BTC = torch.tensor([[[0.0, 0.0], [0.0, 3.0], [9.0, 0.0], [0.0, 3.0]]])
    present_BT = torch.tensor([[True, True, False, False]])
    improvement_BT = torch.tensor([[0.5, 1.0, 1.0, 1.0]])
    right = torch.tensor([0.0, 3.0]).log_softmax(0)[1].item()

    assert progress_loss(logits_BTC, present_BT, improvement_BT).item() == pytest.approx(-right)
    mean = progress_loss(logits_BTC, present_BT, improvement_BT, last_photo_weight=0.0).item()
    assert mean == pytest.approx((np.log(2) - right) / 2)
