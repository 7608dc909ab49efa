from pathlib import Path

import numpy as np
import pytest
import torch

from models.checkpoint import CheckpointError, CheckpointMeta, load_weights, read_meta, save_checkpoint
from models.engine import LesionEngine, load_lesion_engine, load_progress_engine
from models.images import decode_square
from models.lesion import LesionEnsemble, LesionNet
from models.progress import ProgressNet
from models.transforms import MEAN, STD, normalize
from ui.examples import draw_lesion


def meta_of(kind: str, **changes: object) -> CheckpointMeta:
    labels = ("Nevus", "Melanoma") if kind == "lesion" else ("worsened", "improved")
    settings = {
        "kind": kind,
        "name": "tiny",
        "version": "1",
        "architecture": {"num_diagnoses": 2, "input_px": 64} if kind == "lesion" else {},
        "labels": labels,
        "groups": {"Nevus": "benign", "Melanoma": "malignant"} if kind == "lesion" else {},
        "input_px": 64 if kind == "lesion" else 80,
        "mean": MEAN,
        "std": STD,
        "thresholds": {},
        "metrics": {},
        "training": {},
        "training_data": "none",
        "data_fingerprint": "",
        "data_licence": "none",
    }
    return CheckpointMeta.model_validate(settings | changes)


@pytest.fixture(scope="module")
def lesion_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("lesion")
    save_checkpoint(folder, LesionNet(num_diagnoses=2, input_px=64), meta_of("lesion"), "")
    return folder


@pytest.fixture(scope="module")
def progress_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("progress")
    save_checkpoint(folder, ProgressNet(), meta_of("progress"), "")
    return folder


@pytest.fixture(scope="module")
def lesion(lesion_folder: Path) -> LesionEngine:
    return load_lesion_engine(lesion_folder)


def some_images(num: int, side_px: int = 64) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (num, side_px, side_px, 3), np.uint8)


def test_serving_gives_the_logits_of_training(lesion_folder: Path, lesion: LesionEngine, tmp_path: Path):
    path = tmp_path / "lesion.jpg"
    draw_lesion(seed=1).save(path, quality=90)
    image = decode_square(path.read_bytes(), side_px=64).image_HWC
    net = LesionNet(num_diagnoses=2, input_px=64).eval()
    net.load_state_dict(load_weights(lesion_folder, read_meta(lesion_folder)))

    with torch.inference_mode():
        trained = net(normalize(torch.from_numpy(image)[None])).diagnosis_BK
    served = lesion(image[None]).diagnosis_BK

    assert np.log(served) - np.log(served[:, :1]) == pytest.approx(
        (trained - trained[:, :1]).numpy(), abs=1e-4
    )


def test_a_batch_of_one_equals_a_batch_of_many(lesion: LesionEngine):
    image = some_images(5)

    together = lesion(image)
    alone = [lesion(image[i : i + 1]) for i in range(5)]

    assert together.malignant_B == pytest.approx(np.concatenate([one.malignant_B for one in alone]), abs=1e-5)
    assert together.diagnosis_BK == pytest.approx(
        np.concatenate([one.diagnosis_BK for one in alone]), abs=1e-5
    )


def test_probabilities_sum_to_one_and_features_come_only_when_asked(lesion: LesionEngine):
    plain, explained = lesion(some_images(2)), lesion(some_images(2), features=True)

    assert plain.diagnosis_BK.sum(1) == pytest.approx([1, 1], abs=1e-5)
    assert plain.features_BCHW is None
    assert explained.features_BCHW is not None and explained.features_BCHW.shape == (2, 2048, 4, 4)


def test_a_heat_map_lies_between_zero_and_one(lesion: LesionEngine):
    features = lesion(some_images(1), features=True).features_BCHW
    assert features is not None

    heat = lesion.heat_map(features[0], "malignant")

    assert heat.shape == (4, 4) and heat.min() >= 0 and heat.max() <= 1


def test_the_wrong_size_or_type_is_refused(lesion: LesionEngine):
    with pytest.raises(ValueError, match="need uint8"):
        lesion(some_images(1, side_px=60))
    with pytest.raises(ValueError, match="float32"):
        lesion(some_images(1).astype(np.float32))


def test_series_of_different_lengths_share_a_batch(progress_folder: Path):
    engine = load_progress_engine(progress_folder)
    photos = np.random.default_rng(2).integers(0, 256, (2, 4, 80, 80, 3), np.uint8)
    present = np.array([[True] * 4, [True, True, False, False]])

    together = engine(photos, present).improved_BT
    short = engine(photos[1:, :2], present[1:, :2]).improved_BT

    assert together.shape == (2, 4)
    assert together[1, -1] == pytest.approx(short[0, -1], abs=1e-5)


def test_a_checkpoint_of_the_other_kind_is_refused(lesion_folder: Path, progress_folder: Path):
    with pytest.raises(CheckpointError, match="is a progress network, a lesion network is needed"):
        load_lesion_engine(progress_folder)
    with pytest.raises(CheckpointError, match="is a lesion network, a progress network is needed"):
        load_progress_engine(lesion_folder)


def test_an_architecture_that_the_network_does_not_know_is_refused(tmp_path: Path):
    meta = meta_of("lesion", architecture={"num_diagnoses": 2, "input_px": 64, "layers": 3})
    save_checkpoint(tmp_path, LesionNet(num_diagnoses=2, input_px=64), meta, "")

    with pytest.raises(CheckpointError, match="does not fit LesionNet"):
        load_lesion_engine(tmp_path)


def test_weights_of_another_network_are_refused(tmp_path: Path):
    save_checkpoint(tmp_path, LesionNet(num_diagnoses=3, input_px=64), meta_of("lesion"), "")

    with pytest.raises(CheckpointError, match="does not fit LesionNet"):
        load_lesion_engine(tmp_path)


def test_ping_answers_with_a_sound_network_and_raises_with_a_broken_one(
    lesion_folder: Path, progress_folder: Path
):
    engine = load_lesion_engine(lesion_folder)
    engine.ping()
    load_progress_engine(progress_folder).ping()

    with torch.no_grad():
        next(engine._net.parameters()).fill_(torch.nan)

    with pytest.raises(RuntimeError, match="a probability is needed"):
        engine.ping()


@pytest.fixture(scope="module")
def ensemble_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("ensemble")
    architecture = {"num_members": 2, "num_diagnoses": 2, "input_px": 64}
    meta = meta_of("lesion", architecture=architecture)
    save_checkpoint(folder, LesionEnsemble(num_members=2, num_diagnoses=2, input_px=64), meta, "")
    return folder


def test_an_ensemble_is_served_as_it_was_trained(ensemble_folder: Path):
    engine = load_lesion_engine(ensemble_folder)
    net = LesionEnsemble(num_members=2, num_diagnoses=2, input_px=64).eval()
    net.load_state_dict(load_weights(ensemble_folder, engine.meta))
    image = some_images(3)

    with torch.inference_mode():
        trained = net(normalize(torch.from_numpy(image)))
    served = engine(image)

    assert served.malignant_B == pytest.approx(trained.risk_BR.softmax(1)[:, 1].numpy(), abs=1e-5)
    assert served.diagnosis_BK == pytest.approx(trained.diagnosis_BK.softmax(1).numpy(), abs=1e-5)


def test_an_ensemble_shows_where_it_looked_and_answers_a_ping(ensemble_folder: Path):
    engine = load_lesion_engine(ensemble_folder)
    engine.ping()

    features = engine(some_images(1), features=True).features_BCHW
    assert features is not None and features.shape == (1, 2 * 2048, 4, 4)
    heat = engine.heat_map(features[0], "malignant")

    assert heat.shape == (4, 4) and heat.min() >= 0 and heat.max() <= 1


def test_an_ensemble_with_fewer_weights_than_members_is_refused(tmp_path: Path):
    architecture = {"num_members": 3, "num_diagnoses": 2, "input_px": 64}
    net = LesionEnsemble(num_members=2, num_diagnoses=2, input_px=64)
    save_checkpoint(tmp_path, net, meta_of("lesion", architecture=architecture), "")

    with pytest.raises(CheckpointError, match="does not fit LesionEnsemble"):
        load_lesion_engine(tmp_path)
