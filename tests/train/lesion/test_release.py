"""Release of a lesion network: calibration, verification, metrics and model card."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.checkpoint import load_weights, read_meta, read_model_card
from models.lesion.engine_loader import load_lesion_engine, supported_int8_runtimes
from models.lesion.metrics import FoldMetrics, LesionMetrics
from models.lesion.network import LesionNet
from models.metrics import Metric
from samples.lesion import draw_lesion
from train.data.manifest import Row
from train.data.split import Split, fold_rows
from train.lesion.config import LesionTraining
from train.lesion.dataset import LesionPhotos
from train.lesion.evaluation import evaluate_lesion
from train.lesion.model_card import lesion_card
from train.lesion.predictions import predict_logits
from train.lesion.release import release_ensemble, release_lesion
from train.task import ReleaseError, TrainedRun

LABELS = ("Nevus", "Melanoma")
ARCHITECTURE = {"num_diagnoses": 2, "input_px": 32, "dropout": 0.3}
NOTES = {
    "licence": "CC0 1.0",
    "training_data": "drawn lesions",
    "indeterminate": "exclude",
    "manifest": "/home/x",
}


@pytest.fixture(scope="module")
def folds(tmp_path_factory: pytest.TempPathFactory) -> list[Split]:
    folder = tmp_path_factory.mktemp("photos")
    rows: list[Row] = []
    for number in range(16):
        path = folder / f"{number}.jpg"
        draw_lesion(seed=number, size_px=48).save(path)
        rows.append(Row(image=str(path), label=LABELS[number % 2], lesion=str(number), skin_type="II"))
    return fold_rows(rows, num_folds=2, seed=0)


def settings(folder: Path) -> LesionTraining:
    return LesionTraining(run=str(folder / "run"), input_px=32, start_px=32, cache="", bf16=False)


@pytest.fixture
def config(tmp_path: Path) -> LesionTraining:
    return settings(tmp_path)


def network(seed: int = 0) -> LesionNet:
    torch.manual_seed(seed)
    return LesionNet(num_diagnoses=2, input_px=32)


def run_of(net: LesionNet, config: LesionTraining, split: Split) -> TrainedRun:
    return TrainedRun(
        config=config, net=net, split=split, architecture=ARCHITECTURE, labels=LABELS, notes=NOTES
    )


def release(net: LesionNet, config: LesionTraining, split: Split) -> Path:
    folder = Path(config.run) / "checkpoint"
    release_lesion(run_of(net, config, split), folder)
    return folder


def release_folds(
    nets: list[LesionNet], config: LesionTraining, folds: list[Split]
) -> tuple[Path, list[FoldMetrics]]:
    folder = Path(config.run) / "checkpoint"
    runs = [run_of(net, config, split) for net, split in zip(nets, folds, strict=True)]
    return folder, release_ensemble(runs, folder)


def metrics_of(folder: Path) -> LesionMetrics:
    metrics = read_meta(folder).metrics
    assert isinstance(metrics, LesionMetrics)
    return metrics


@pytest.fixture(scope="module")
def released(folds: list[Split], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The release of ``network()``, validated on the first fold."""
    return release(network(), settings(tmp_path_factory.mktemp("released")), folds[0])


@dataclass(frozen=True)
class Ensemble:
    folder: Path
    fold_metrics: list[FoldMetrics]


@pytest.fixture(scope="module")
def ensemble(folds: list[Split], tmp_path_factory: pytest.TempPathFactory) -> Ensemble:
    """The release of a network of each fold."""
    nets = [network(1), network(2)]
    return Ensemble(*release_folds(nets, settings(tmp_path_factory.mktemp("ensemble")), folds))


def test_the_checkpoint_answers_as_the_calibrated_network(released: Path, folds: list[Split]):
    net = network()
    photos = LesionPhotos(folds[0].val, labels=LABELS, side_px=32)

    metrics = metrics_of(released)
    calibration = metrics.calibration
    assert calibration is not None and calibration.risk_ece_after.value is not None
    margin_B = predict_logits(net, photos).risk_BR @ [-1, 1] / calibration.risk_temperature
    served = load_lesion_engine(released, engine="pytorch")(photos.image_BHWC.numpy()).malignant_B
    assert served == pytest.approx(1 / (1 + np.exp(-margin_B - calibration.risk_shift)), abs=0.002)
    assert metrics.largest_difference_from_training is not None
    assert metrics.largest_difference_from_training < 0.002


def test_its_metrics_are_those_of_the_written_weights(released: Path, folds: list[Split]):
    found = evaluate_lesion(load_lesion_engine(released, engine="pytorch"), folds[0].val).metrics

    meta, metrics = read_meta(released), metrics_of(released)
    assert (metrics.diagnosis, metrics.risk, metrics.num_groups) == (found.diagnosis, found.risk, 8)
    assert metrics.n == found.n == 8 and meta.training["num_train"] == 8
    assert meta.data_fingerprint == folds[0].fingerprint


@pytest.mark.slow
def test_licence_and_data_come_from_the_manifest_unless_the_settings_say(
    released: Path, config: LesionTraining, folds: list[Split]
):
    plain = read_meta(released)
    stated = replace(config, data_licence="CC BY 4.0", training_data="lesions of ours")
    other = read_meta(release(network(), stated, folds[0]))

    assert (plain.data_licence, plain.training_data) == ("CC0 1.0", "drawn lesions")
    assert (other.data_licence, other.training_data) == ("CC BY 4.0", "lesions of ours")
    assert plain.training["indeterminate"] == "exclude"
    assert "/home/x" not in plain.model_dump_json()


def test_the_card_states_metrics_calibration_and_that_it_is_no_device(released: Path):
    card = read_model_card(released)

    assert "not a medical device" in card and "CC0 1.0" in card
    assert "balanced accuracy" in card and "expected calibration error" in card
    assert "recorded for 8 training photos: II: 8" in card
    assert "which is not tuned" in card
    assert "{" not in card


@pytest.mark.slow
def test_a_wanted_sensitivity_sets_the_threshold(config: LesionTraining, folds: list[Split]):
    config = replace(config, min_sensitivity=0.75)

    folder = release(network(), config, folds[0])

    sensitivity = metrics_of(folder).risk.sensitivity.value
    assert read_meta(folder).thresholds["malignant"] != 0.5
    assert sensitivity is not None and sensitivity >= 0.75
    card = read_model_card(folder)
    assert "reaches 75%" in card and "slightly optimistic" in card


@pytest.mark.slow
def test_weights_too_large_for_float16_are_not_released(config: LesionTraining, folds: list[Split]):
    first = release(network(), config, folds[0])
    before = read_meta(first)
    broken = network()
    with torch.no_grad():
        broken.backbone.conv1.weight *= 1e7
        broken.backbone.bn1.get_buffer("running_var").mul_(1e14)

    with pytest.raises(ReleaseError, match="nothing was released"):
        release(broken, config, folds[0])

    assert read_meta(first) == before
    assert [path.name for path in Path(config.run).iterdir()] == ["checkpoint"]


def test_a_network_that_diverged_is_not_released(config: LesionTraining, folds: list[Split]):
    broken = network()
    with torch.no_grad():
        broken.backbone.conv1.weight.fill_(torch.nan)

    with pytest.raises(ReleaseError, match="not finite"):
        release(broken, config, folds[0])


@pytest.mark.slow
def test_folds_become_one_ensemble_with_out_of_fold_metrics(ensemble: Ensemble):
    meta, metrics = read_meta(ensemble.folder), metrics_of(ensemble.folder)
    assert meta.architecture["num_members"] == 2
    assert metrics.n == 16 and "out of fold" in metrics.split
    assert ensemble.fold_metrics == [metrics.folds["1"], metrics.folds["2"]]
    assert metrics.largest_difference_from_training is not None
    assert metrics.largest_difference_from_training < 0.002
    assert "2 ResNet50" in read_model_card(ensemble.folder)


@pytest.mark.slow
def test_every_member_of_the_ensemble_is_the_network_of_its_fold(ensemble: Ensemble):
    weights = load_weights(ensemble.folder, read_meta(ensemble.folder))

    for number, net in enumerate([network(1), network(2)]):
        stored = weights[f"members.{number}.trunk.conv1.weight"]
        assert torch.allclose(stored, net.backbone.conv1.weight, atol=1e-3)


def test_int8_is_released_where_it_costs_little(
    config: LesionTraining, folds: list[Split], caplog: pytest.LogCaptureFixture
):
    with caplog.at_level("INFO", logger="train.lesion.release"):
        folder = release(network(), config, folds[0])

    cost = metrics_of(folder).int8
    assert cost is not None and cost.passed and cost.n == 8 and cost.changed_share == 0
    assert cost.balanced_accuracy_difference == Metric(value=0.0, low=0.0, high=0.0)
    assert cost.engines == dict.fromkeys(supported_int8_runtimes(), True)
    assert load_lesion_engine(folder).runtime == supported_int8_runtimes()[0]
    assert "n = 8: accepted" in caplog.text
    assert "CPUs serve it in int8." in read_model_card(folder)


@pytest.mark.slow
def test_int8_that_costs_too_much_is_rejected_in_one_line(
    config: LesionTraining,
    folds: list[Split],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    monkeypatch.setattr("train.lesion.calibration_ranges.MAX_CHANGED_SHARE", -1.0)

    with caplog.at_level("INFO", logger="train.lesion.release"):
        folder = release(network(), config, folds[0])

    cost = metrics_of(folder).int8
    assert cost is not None and not cost.passed and read_meta(folder).int8_sha256 == ""
    assert not (folder / "int8.json").exists()
    assert load_lesion_engine(folder).runtime == "onnxruntime"
    assert caplog.text.count(": rejected") == len(supported_int8_runtimes())
    assert "it is served in float32" in read_model_card(folder)


@pytest.mark.slow
def test_an_int8_engine_that_was_not_evaluated_is_not_used(
    config: LesionTraining, folds: list[Split], monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        patch.setattr("train.lesion.release.supported_int8_runtimes", lambda _: ["onnxruntime-int8"])
        folder = release(network(), config, folds[0])

    cost = metrics_of(folder).int8
    assert cost is not None and cost.engines == {"onnxruntime-int8": True}
    assert load_lesion_engine(folder).runtime == "onnxruntime-int8"


def test_the_card_omits_an_auroc_difference_that_is_not_defined(released: Path, folds: list[Split]):
    metrics = metrics_of(released)
    assert metrics.int8 is not None
    int8 = metrics.int8.model_copy(update={"macro_auroc_difference": None})

    card = lesion_card(read_meta(released), metrics.model_copy(update={"int8": int8}), folds[0].train)

    assert "None" not in card and "-int8) the balanced accuracy changes by 0.000 [" in card


@pytest.mark.slow
def test_an_ensemble_is_released_in_float32(ensemble: Ensemble):
    assert read_meta(ensemble.folder).int8_sha256 == "" and metrics_of(ensemble.folder).int8 is None
    assert load_lesion_engine(ensemble.folder).runtime == "onnxruntime"


@pytest.mark.slow
def test_a_ranking_exponent_weighs_rare_diagnoses_and_leaves_probabilities_calibrated(
    released: Path, config: LesionTraining, folds: list[Split]
):
    ranked = release(network(), replace(config, ranking_exponent=0.5), folds[0])

    weights = read_meta(ranked).ranking_weights
    assert read_meta(released).ranking_weights == {}
    assert set(weights) == set(LABELS) and min(weights.values()) == 1.0
    assert "ranked by the product of probability and weight" in " ".join(read_model_card(ranked).split())
    assert metrics_of(ranked).diagnosis.macro_auroc == metrics_of(released).diagnosis.macro_auroc
