import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from models.checkpoint import (
    INT8,
    CheckpointError,
    CheckpointMeta,
    load_int8_ranges,
    load_weights,
    read_meta,
    save_checkpoint,
)
from models.images import decode_square
from models.lesion.engine_loader import load_lesion_engine, supported_int8_runtimes
from models.lesion.engines import GpuLesionEngine, LesionEngine, OnnxLesionEngine, gpu_batch_sizes
from models.lesion.network import LesionEnsemble, LesionNet
from models.lesion.runtimes import INT8_RUNTIMES, EngineName, Runtime
from models.preprocessing import MEAN, STD, normalize
from models.progress.engine import load_progress_engine
from models.progress.network import ProgressNet
from samples.lesion import draw_lesion
from tests.random_checkpoints import int8_accepted
from train.lesion.calibration_ranges import measure_ranges


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


@pytest.fixture(scope="module", params=["pytorch", "onnxruntime"])
def lesion(lesion_folder: Path, request: pytest.FixtureRequest) -> LesionEngine:
    return load_lesion_engine(lesion_folder, engine=request.param)


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
    grad_cam_RHW = lesion(some_images(3), explain=[2]).grad_cam_RHW

    assert grad_cam_RHW.keys() == {2}
    assert grad_cam_RHW[2].shape == (2, 4, 4) and grad_cam_RHW[2].min() >= 0 and grad_cam_RHW[2].max() <= 1


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


def test_a_series_may_be_a_view_that_runs_backwards(progress_folder: Path):
    engine = load_progress_engine(progress_folder)
    side = engine.meta.input_px
    photos = np.random.default_rng(2).integers(0, 256, (1, 4, side, side, 3), dtype=np.uint8)
    present = np.array([[True, False, True, True]])

    view = engine(photos[:, ::-1], present[:, ::-1]).improved_BT
    copy = engine(photos[:, ::-1].copy(), present[:, ::-1].copy()).improved_BT

    np.testing.assert_array_equal(view, copy)


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
    engine = load_lesion_engine(lesion_folder, engine="pytorch")
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


@pytest.mark.parametrize("name", ["pytorch", "onnxruntime"])
def test_an_ensemble_is_served_as_it_was_trained(ensemble_folder: Path, name: EngineName):
    engine = load_lesion_engine(ensemble_folder, engine=name)
    net = LesionEnsemble(num_members=2, num_diagnoses=2, input_px=64).eval()
    net.load_state_dict(load_weights(ensemble_folder, engine.meta))
    image = some_images(3)

    with torch.inference_mode():
        trained = net(normalize(torch.from_numpy(image)))
    served = engine(image)

    assert served.malignant_B == pytest.approx(trained.risk_BR.softmax(1)[:, 1].numpy(), abs=1e-5)
    assert served.diagnosis_BK == pytest.approx(trained.diagnosis_BK.softmax(1).numpy(), abs=1e-5)


@pytest.mark.parametrize("name", ["pytorch", "onnxruntime"])
def test_an_ensemble_shows_where_it_looked_and_answers_a_ping(ensemble_folder: Path, name: EngineName):
    engine = load_lesion_engine(ensemble_folder, engine=name)
    engine.ping()

    answer = engine(some_images(1), features=True, explain=[0])

    assert answer.features_BCHW is not None and answer.features_BCHW.shape == (1, 2 * 2048, 4, 4)
    heat = answer.grad_cam_RHW[0]
    assert heat.shape == (2, 4, 4) and heat.min() >= 0 and heat.max() <= 1


def test_an_ensemble_with_fewer_weights_than_members_is_refused(tmp_path: Path):
    architecture = {"num_members": 3, "num_diagnoses": 2, "input_px": 64}
    net = LesionEnsemble(num_members=2, num_diagnoses=2, input_px=64)
    save_checkpoint(tmp_path, net, meta_of("lesion", architecture=architecture), "")

    with pytest.raises(CheckpointError, match="does not fit LesionEnsemble"):
        load_lesion_engine(tmp_path)


def patches(num: int) -> np.ndarray:
    """Images that differ more than noise does: 16 squares of any colour each."""
    colours = np.random.default_rng(4).integers(0, 256, (num, 4, 4, 3), np.uint8)
    return colours.repeat(16, axis=1).repeat(16, axis=2)


PASSED = int8_accepted(dict.fromkeys(INT8_RUNTIMES, True))


class Patches:
    """Photos to measure ranges on; what ``LesionPhotos`` offers for that."""

    def __len__(self) -> int:
        return 16

    def __getitems__(self, indices: list[int]) -> dict[str, torch.Tensor]:
        return {"image": torch.from_numpy(patches(16))[indices]}


@pytest.fixture(scope="module")
def int8_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network whose answers differ: a fresh one is zero at the end of each block, and damps the rest."""
    torch.manual_seed(0)
    net = LesionNet(num_diagnoses=2, input_px=64).eval()
    for name, part in net.named_modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = 1
            torch.nn.init.constant_(part.weight, 0.2 if name.endswith("bn3") else 1)
    net.train()
    with torch.no_grad():
        net(normalize(torch.from_numpy(patches(16))))  # batch norm learns what is common to all photos
        net.diagnosis_head[-1].get_parameter("weight").mul_(3)
    net.eval()
    folder = tmp_path_factory.mktemp("int8")
    ranges = measure_ranges(net, Patches())  # pyright: ignore[reportArgumentType]
    save_checkpoint(folder, net, meta_of("lesion", metrics=PASSED), "", int8_ranges=ranges)
    return folder


def saved_again(int8_folder: Path, folder: Path, ranges: dict[str, object], **changes: object) -> Path:
    """The network of ``int8_folder`` with some other ranges or another meta."""
    net = LesionNet(num_diagnoses=2, input_px=64)
    before = read_meta(int8_folder)
    net.load_state_dict(load_weights(int8_folder, before))
    meta = meta_of("lesion", **{"metrics": PASSED} | changes)
    found = {**(load_int8_ranges(int8_folder, before) or {}), **ranges}
    save_checkpoint(folder, net, meta, "", int8_ranges=found)  # pyright: ignore[reportArgumentType]
    return folder


@pytest.mark.parametrize("name", supported_int8_runtimes())
def test_8_bits_answer_nearly_as_float32(int8_folder: Path, name: EngineName):
    image = patches(5)
    exact = load_lesion_engine(int8_folder, engine="pytorch")(image, features=True)

    engine = load_lesion_engine(int8_folder, engine=name)
    rounded = engine(image, features=True)

    assert engine.runtime == name
    assert exact.diagnosis_BK.std(0).max() > 0.02
    assert rounded.diagnosis_BK == pytest.approx(exact.diagnosis_BK, abs=0.02)
    assert rounded.malignant_B == pytest.approx(exact.malignant_B, abs=0.01)
    assert exact.features_BCHW is not None and rounded.features_BCHW is not None
    apart, rounded_apart = (x - x.mean(0) for x in (exact.features_BCHW, rounded.features_BCHW))
    assert np.corrcoef(apart.ravel(), rounded_apart.ravel())[0, 1] > 0.97


@pytest.mark.parametrize("name", supported_int8_runtimes())
def test_8_bits_show_where_they_looked_and_answer_a_batch_as_one_by_one(int8_folder: Path, name: EngineName):
    engine = load_lesion_engine(int8_folder, engine=name)
    engine.ping()
    image = patches(3)

    together = engine(image, explain=[0])
    alone = [engine(image[i : i + 1]) for i in range(3)]

    assert together.diagnosis_BK == pytest.approx(
        np.concatenate([one.diagnosis_BK for one in alone]), abs=1e-4
    )
    heat = together.grad_cam_RHW[0]
    assert heat.shape == (2, 4, 4) and heat.min() >= 0 and heat.max() <= 1


@pytest.mark.parametrize("name", supported_int8_runtimes())
def test_white_does_not_turn_black_about_a_mean_of_a_half(
    int8_folder: Path, tmp_path: Path, name: EngineName
):
    folder = saved_again(int8_folder, tmp_path, {}, mean=(0.5, 0.5, 0.5))
    white, black = np.full((1, 64, 64, 3), 255, np.uint8), np.zeros((1, 64, 64, 3), np.uint8)
    exact = load_lesion_engine(folder, engine="pytorch")

    rounded = load_lesion_engine(folder, engine=name)(white, features=True).features_BCHW

    wrong, right = (exact(image, features=True).features_BCHW for image in (black, white))
    assert rounded is not None and wrong is not None and right is not None
    assert np.abs(rounded - right).mean() < 0.3 * np.abs(wrong - right).mean()


def test_auto_takes_8_bits_only_where_the_release_did(int8_folder: Path, lesion_folder: Path):
    assert load_lesion_engine(int8_folder).runtime == supported_int8_runtimes()[0]
    assert load_lesion_engine(lesion_folder).runtime == "onnxruntime"


@pytest.mark.parametrize(
    ("passed", "expected"),
    [
        ({"onednn-int8": False, "onnxruntime-int8": True}, "onnxruntime-int8"),
        ({"onnxruntime-int8": True}, "onnxruntime-int8"),
        ({"onednn-int8": False, "onnxruntime-int8": False}, "onnxruntime"),
        ({}, "onnxruntime"),
    ],
)
def test_auto_takes_no_engine_that_the_release_did_not_judge_and_pass(
    int8_folder: Path, tmp_path: Path, passed: dict[str, bool], expected: Runtime
):
    folder = saved_again(int8_folder, tmp_path, {}, metrics=int8_accepted(passed))

    assert load_lesion_engine(folder).runtime == expected


def test_engines_that_cannot_answer_are_refused(lesion_folder: Path):
    with pytest.raises(ValueError, match="there is no engine 'tensorrt'; take one of auto, pytorch"):
        load_lesion_engine(lesion_folder, engine="tensorrt")  # pyright: ignore[reportArgumentType]
    with pytest.raises(CheckpointError, match="no calibration ranges"):
        load_lesion_engine(lesion_folder, engine="onnxruntime-int8")
    with pytest.raises(ValueError, match="runs on a CPU, the device is cuda"):
        load_lesion_engine(lesion_folder, device="cuda", engine="onnxruntime")


def test_a_processor_without_vnni_takes_onnx_runtime(int8_folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torch.cpu._is_vnni_supported", lambda: False)

    assert load_lesion_engine(int8_folder).runtime == "onnxruntime-int8"
    with pytest.raises(ValueError, match="needs AVX-512 VNNI"):
        load_lesion_engine(int8_folder, engine="onednn-int8")


def test_damaged_missing_or_wrong_ranges_are_refused(int8_folder: Path, tmp_path: Path):
    folder = tmp_path / "damaged"
    shutil.copytree(int8_folder, folder)
    (folder / INT8).write_text("{}")
    with pytest.raises(CheckpointError, match=r"int8.json has sha256 .* fetch it again"):
        load_lesion_engine(folder)
    (folder / INT8).unlink()
    with pytest.raises(CheckpointError, match=r"has no int8.json"):
        load_lesion_engine(folder)

    net = LesionNet(num_diagnoses=2, input_px=64)
    meta = meta_of("lesion", metrics=PASSED)
    save_checkpoint(folder, net, meta, "", int8_ranges={"stem": (0.0, 1.0)})
    with pytest.raises(CheckpointError, match=r"do not fit its network \(layer1.0.conv1"):
        load_lesion_engine(folder)


@pytest.mark.parametrize("name", ["pytorch", "onnxruntime"])
def test_float32_is_served_whatever_the_ranges_are(int8_folder: Path, tmp_path: Path, name: EngineName):
    folder = tmp_path / "damaged"
    shutil.copytree(int8_folder, folder)
    (folder / INT8).unlink()

    assert load_lesion_engine(folder, engine=name).runtime == name


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("stem", (-1.0, 6.0)),
        ("layer4.2", (-0.5, 10.0)),
        ("layer2.1.conv2", (0.5, 7.0)),
        ("layer1.0.conv3", (0.1, 0.7)),
        ("layer1.0.shortcut", (-2.0, -1.0)),
        ("stem", (0.0, float("nan"))),
    ],
)
def test_a_range_without_zero_or_below_it_behind_a_relu_is_refused(
    int8_folder: Path, tmp_path: Path, name: str, values: tuple[float, float]
):
    folder = saved_again(int8_folder, tmp_path, {name: values})

    with pytest.raises(CheckpointError, match=rf"do not fit its network \({name}\)"):
        load_lesion_engine(folder)


def test_a_release_without_8_bits_leaves_none_of_an_earlier_one(int8_folder: Path, tmp_path: Path):
    folder = tmp_path / "again"
    shutil.copytree(int8_folder, folder)

    save_checkpoint(folder, LesionNet(num_diagnoses=2, input_px=64), meta_of("lesion"), "")

    assert not (folder / INT8).exists() and read_meta(folder).int8_sha256 == ""


def test_threads_of_onnx_runtime_follow_the_settings(lesion_folder: Path):
    before = torch.get_num_threads()
    try:
        engine = load_lesion_engine(lesion_folder, engine="onnxruntime", num_threads=1)
    finally:
        torch.set_num_threads(before)

    assert isinstance(engine, OnnxLesionEngine)
    assert engine._session.get_session_options().intra_op_num_threads == 1


def test_what_a_gpu_computes_is_nearly_what_the_reference_does(int8_folder: Path):
    exact = load_lesion_engine(int8_folder, engine="pytorch")
    engine = load_lesion_engine(int8_folder, engine="pytorch-bf16", max_batch_size=3)
    assert isinstance(engine, GpuLesionEngine) and engine.sizes == (1, 2, 4)
    image = patches(7)  # four, and three padded to four

    found = engine(image, features=True, explain=[1, 6])
    expected = exact(image, features=True, explain=[1, 6])

    assert found.diagnosis_BK.shape == (7, 2)
    assert found.diagnosis_BK == pytest.approx(expected.diagnosis_BK, abs=0.05)
    assert found.malignant_B == pytest.approx(expected.malignant_B, abs=0.01)
    assert found.features_BCHW is not None and found.features_BCHW.shape == (7, 2048, 4, 4)
    for index in (1, 6):
        heat, exact_heat = found.grad_cam_RHW[index].ravel(), expected.grad_cam_RHW[index].ravel()
        assert np.corrcoef(heat, exact_heat)[0, 1] > 0.95


def test_an_empty_batch_on_a_gpu_has_empty_answers(int8_folder: Path):
    found = load_lesion_engine(int8_folder, engine="pytorch-bf16")(patches(0), features=True)

    assert found.malignant_B.shape == (0,) and found.diagnosis_BK.shape == (0, 2)
    assert found.features_BCHW is not None and found.features_BCHW.shape == (0, 2048, 4, 4)


def test_batches_on_a_gpu_have_a_few_sizes():
    assert gpu_batch_sizes(1) == (1,)
    assert gpu_batch_sizes(48) == (1, 2, 4, 8, 16, 32, 64)
    assert gpu_batch_sizes(1000)[-1] == 256
