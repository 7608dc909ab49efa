"""From a network and a split to a checkpoint that is calibrated, verified and described."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.checkpoint import load_weights, read_meta, read_model_card
from models.lesion.engine_loader import load_lesion_engine, supported_int8_runtimes
from models.lesion.network import LesionNet
from samples.lesion import draw_lesion
from train.config import LesionTraining
from train.data.manifest import Row
from train.data.split import Split, fold_rows
from train.lesion.dataset import LesionPhotos
from train.lesion.model_card import lesion_card
from train.lesion.predictions import judge, measure_lesion
from train.lesion.release import ReleaseError, release_ensemble, release_lesion

LABELS = ("Nevus", "Melanoma")
ARCHITECTURE = {"num_diagnoses": 2, "input_px": 32, "dropout": 0.3}
NOTES = {
    "licence": "CC0 1.0",
    "training_data": "drawn spots",
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


@pytest.fixture
def config(tmp_path: Path) -> LesionTraining:
    return LesionTraining(run=str(tmp_path / "run"), input_px=32, start_px=32, cache="", bf16=False)


def network(seed: int = 0) -> LesionNet:
    torch.manual_seed(seed)
    return LesionNet(num_diagnoses=2, input_px=32)


def test_the_checkpoint_answers_as_the_calibrated_network(config: LesionTraining, folds: list[Split]):
    net = network()
    photos = LesionPhotos(folds[0].val, labels=LABELS, side_px=32)

    folder = release_lesion(net, config, folds[0], LABELS, ARCHITECTURE, NOTES)

    engine = load_lesion_engine(folder, engine="pytorch")
    calibration = engine.meta.metrics["calibration"]
    margin = (judge(net, photos).risk_BR @ [-1, 1]) / calibration["risk_temperature"] + calibration[
        "risk_shift"
    ]
    served = engine(photos.image_BHWC.numpy()).malignant_B
    assert served == pytest.approx(1 / (1 + np.exp(-margin)), abs=0.002)
    assert engine.meta.metrics["largest_difference_from_training"] < 0.002
    assert calibration["risk_ece_after"]["value"] is not None


def test_its_figures_are_those_of_the_written_weights(config: LesionTraining, folds: list[Split]):
    folder = release_lesion(network(), config, folds[0], LABELS, ARCHITECTURE, NOTES)

    photos = LesionPhotos(folds[0].val, labels=LABELS, side_px=32)
    found = measure_lesion(load_lesion_engine(folder, engine="pytorch"), photos)

    meta = read_meta(folder)
    assert {name: meta.metrics[name] for name in found} == found
    assert meta.metrics["n"] == 8 and meta.training["num_train"] == 8
    assert meta.data_fingerprint == folds[0].fingerprint


def test_licence_and_data_come_from_the_manifest_unless_the_settings_say(
    config: LesionTraining, folds: list[Split]
):
    plain = read_meta(release_lesion(network(), config, folds[0], LABELS, ARCHITECTURE, NOTES))
    said = replace(config, data_licence="CC BY 4.0", training_data="spots of ours")
    other = read_meta(release_lesion(network(), said, folds[0], LABELS, ARCHITECTURE, NOTES))

    assert (plain.data_licence, plain.training_data) == ("CC0 1.0", "drawn spots")
    assert (other.data_licence, other.training_data) == ("CC BY 4.0", "spots of ours")
    assert plain.training["indeterminate"] == "exclude"
    assert "/home/x" not in plain.model_dump_json()


def test_the_card_states_figures_calibration_and_that_it_is_no_device(
    config: LesionTraining, folds: list[Split]
):
    card = read_model_card(release_lesion(network(), config, folds[0], LABELS, ARCHITECTURE, NOTES))

    assert "not a medical device" in card and "CC0 1.0" in card
    assert "balanced accuracy" in card and "expected calibration error" in card
    assert "recorded for 8 of them: II: 8" in card
    assert "nothing was chosen" in card
    assert "{" not in card


def test_a_wanted_sensitivity_sets_the_threshold(config: LesionTraining, folds: list[Split]):
    config = replace(config, min_sensitivity=0.75)

    folder = release_lesion(network(), config, folds[0], LABELS, ARCHITECTURE, NOTES)

    meta = read_meta(folder)
    assert meta.thresholds["malignant"] != 0.5
    assert meta.metrics["risk"]["sensitivity"]["value"] >= 0.75
    card = read_model_card(folder)
    assert "reaches 75%" in card and "flatters the sensitivity and specificity" in card


def test_weights_that_rounding_destroys_are_not_released(config: LesionTraining, folds: list[Split]):
    first = release_lesion(network(), config, folds[0], LABELS, ARCHITECTURE, NOTES)
    before = read_meta(first)
    broken = network()
    with torch.no_grad():
        broken.backbone.conv1.weight *= 1e7
        broken.backbone.bn1.get_buffer("running_var").mul_(1e14)

    with pytest.raises(ReleaseError, match="nothing was released"):
        release_lesion(broken, config, folds[0], LABELS, ARCHITECTURE, NOTES)

    assert read_meta(first) == before
    assert [path.name for path in Path(config.run).iterdir()] == ["checkpoint"]


def test_a_network_that_diverged_is_not_released(config: LesionTraining, folds: list[Split]):
    broken = network()
    with torch.no_grad():
        broken.backbone.conv1.weight.fill_(torch.nan)

    with pytest.raises(ReleaseError, match="not a number"):
        release_lesion(broken, config, folds[0], LABELS, ARCHITECTURE, NOTES)


def test_folds_become_one_ensemble_with_out_of_fold_figures(config: LesionTraining, folds: list[Split]):
    nets = [network(1), network(2)]

    folder, figures = release_ensemble(nets, config, folds, LABELS, ARCHITECTURE, NOTES)

    engine = load_lesion_engine(folder)
    metrics = engine.meta.metrics
    assert engine.meta.architecture["num_members"] == 2
    assert metrics["n"] == 16 and "out of fold" in metrics["split"]
    assert [figure["balanced_accuracy"] for figure in figures] == [
        metrics["folds"][number]["balanced_accuracy"] for number in ("1", "2")
    ]
    assert metrics["largest_difference_from_training"] < 0.002
    assert "2 ResNet50" in read_model_card(folder)


def test_every_member_of_the_ensemble_is_the_network_of_its_fold(config: LesionTraining, folds: list[Split]):
    nets = [network(1), network(2)]

    folder, _ = release_ensemble(nets, config, folds, LABELS, ARCHITECTURE, NOTES)

    weights = load_weights(folder, read_meta(folder))
    for number, net in enumerate(nets):
        stored = weights[f"members.{number}.trunk.conv1.weight"]
        assert torch.allclose(stored, net.backbone.conv1.weight, atol=1e-3)


def test_8_bits_are_released_where_they_cost_little(
    config: LesionTraining, folds: list[Split], caplog: pytest.LogCaptureFixture
):
    with caplog.at_level("INFO", logger="train.lesion.release"):
        folder = release_lesion(network(), config, folds[0], LABELS, ARCHITECTURE, NOTES)

    meta = read_meta(folder)
    cost = meta.metrics["int8"]
    assert cost["passed"] and cost["n"] == 8 and cost["changed_share"] == 0
    assert cost["balanced_accuracy_difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert cost["engines"] == dict.fromkeys(supported_int8_runtimes(), True)
    assert load_lesion_engine(folder).runtime == supported_int8_runtimes()[0]
    assert "n = 8: released" in caplog.text
    assert "A CPU serves it in 8 bits." in read_model_card(folder)


def test_8_bits_that_cost_too_much_are_refused_in_one_line(
    config: LesionTraining,
    folds: list[Split],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    monkeypatch.setattr("train.lesion.calibration_ranges.MAX_CHANGED_SHARE", -1.0)

    with caplog.at_level("INFO", logger="train.lesion.release"):
        folder = release_lesion(network(), config, folds[0], LABELS, ARCHITECTURE, NOTES)

    meta = read_meta(folder)
    assert not meta.metrics["int8"]["passed"] and meta.int8_sha256 == ""
    assert not (folder / "int8.json").exists()
    assert load_lesion_engine(folder).runtime == "onnxruntime"
    assert caplog.text.count("too much, the checkpoint is served in float32") == len(
        supported_int8_runtimes()
    )
    assert "it is served in float32" in read_model_card(folder)


def test_8_bits_by_an_engine_that_was_not_judged_are_not_taken(
    config: LesionTraining, folds: list[Split], monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        patch.setattr("train.lesion.release.supported_int8_runtimes", lambda: ["onnxruntime-int8"])
        folder = release_lesion(network(), config, folds[0], LABELS, ARCHITECTURE, NOTES)

    assert read_meta(folder).metrics["int8"]["engines"] == {"onnxruntime-int8": True}
    assert load_lesion_engine(folder).runtime == "onnxruntime-int8"


def test_the_card_leaves_out_what_8_bits_cost_an_auroc_that_is_not_defined(
    config: LesionTraining, folds: list[Split]
):
    meta = read_meta(release_lesion(network(), config, folds[0], LABELS, ARCHITECTURE, NOTES))
    meta.metrics["int8"]["macro_auroc_difference"] = None

    card = lesion_card(meta, folds[0].train)

    assert "None" not in card and "-int8) the balanced accuracy changes by 0.000 [" in card


def test_an_ensemble_is_released_in_float32(config: LesionTraining, folds: list[Split]):
    folder, _ = release_ensemble([network(1), network(2)], config, folds, LABELS, ARCHITECTURE, NOTES)

    assert read_meta(folder).int8_sha256 == "" and "int8" not in read_meta(folder).metrics
    assert load_lesion_engine(folder).runtime == "onnxruntime"
