from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.checkpoint import CheckpointError, load_int8_ranges, load_weights, read_meta, save_checkpoint
from models.images import decode_square
from models.lesion.engine import LesionEngine
from models.lesion.engine_loader import load_lesion_engine, supported_int8_runtimes
from models.lesion.network import LesionEnsemble, LesionNet
from models.lesion.onnx_engine import OnnxLesionEngine
from models.lesion.pytorch_engines import GpuLesionEngine, PyTorchLesionEngine, gpu_batch_sizes
from models.lesion.runtimes import EngineName
from models.preprocessing import normalize
from models.progress.engine import load_progress_engine
from samples.lesion import draw_lesion
from tests.int8_checkpoint import noise_images, patch_images
from tests.random_checkpoints import random_meta

INT8 = supported_int8_runtimes()


@pytest.fixture(scope="module", params=["pytorch", "onnxruntime"])
def lesion(lesion_folder: Path, request: pytest.FixtureRequest) -> LesionEngine:
    return load_lesion_engine(lesion_folder, engine=request.param)


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
    image = noise_images(5)

    together = lesion(image)
    alone = [lesion(image[i : i + 1]) for i in range(5)]

    assert together.malignant_B == pytest.approx(np.concatenate([one.malignant_B for one in alone]), abs=1e-5)
    assert together.diagnosis_BK == pytest.approx(
        np.concatenate([one.diagnosis_BK for one in alone]), abs=1e-5
    )


def test_probabilities_sum_to_one_and_features_are_returned_on_request(lesion: LesionEngine):
    plain, explained = lesion(noise_images(2)), lesion(noise_images(2), features=True)

    assert plain.diagnosis_BK.sum(1) == pytest.approx([1, 1], abs=1e-5)
    assert plain.features_BCHW is None
    assert explained.features_BCHW is not None and explained.features_BCHW.shape == (2, 2048, 4, 4)


def test_a_grad_cam_map_is_between_zero_and_one(lesion: LesionEngine):
    grad_cam_RHW = lesion(noise_images(3), explain=[2]).grad_cam_RHW

    assert grad_cam_RHW.keys() == {2}
    assert grad_cam_RHW[2].shape == (2, 4, 4) and grad_cam_RHW[2].min() >= 0 and grad_cam_RHW[2].max() <= 1


def test_photos_of_the_wrong_size_or_type_are_rejected(lesion: LesionEngine):
    with pytest.raises(ValueError, match="need uint8"):
        lesion(noise_images(1, side_px=60))
    with pytest.raises(ValueError, match="float32"):
        lesion(noise_images(1).astype(np.float32))


def test_ping_raises_for_a_network_with_nan_weights(lesion_folder: Path, progress_folder: Path):
    engine = load_lesion_engine(lesion_folder, engine="pytorch")
    assert isinstance(engine, PyTorchLesionEngine)
    engine.ping()
    load_progress_engine(progress_folder).ping()

    with torch.no_grad():
        next(engine._net.parameters()).fill_(torch.nan)

    with pytest.raises(RuntimeError, match="a finite number is needed"):
        engine.ping()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pytorch", "onnxruntime"])
def test_serving_an_ensemble_gives_the_probabilities_of_training(ensemble_folder: Path, name: EngineName):
    engine = load_lesion_engine(ensemble_folder, engine=name)
    net = LesionEnsemble(num_members=2, num_diagnoses=2, input_px=64).eval()
    net.load_state_dict(load_weights(ensemble_folder, engine.meta))
    image = noise_images(3)

    with torch.inference_mode():
        trained = net(normalize(torch.from_numpy(image)))
    served = engine(image)

    assert served.malignant_B == pytest.approx(trained.risk_BR.softmax(1)[:, 1].numpy(), abs=1e-5)
    assert served.diagnosis_BK == pytest.approx(trained.diagnosis_BK.softmax(1).numpy(), abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pytorch", "onnxruntime"])
def test_an_ensemble_returns_features_and_grad_cam_maps(ensemble_folder: Path, name: EngineName):
    engine = load_lesion_engine(ensemble_folder, engine=name)
    engine.ping()

    output = engine(noise_images(1), features=True, explain=[0])

    assert output.features_BCHW is not None and output.features_BCHW.shape == (1, 2 * 2048, 4, 4)
    grad_cam = output.grad_cam_RHW[0]
    assert grad_cam.shape == (2, 4, 4) and grad_cam.min() >= 0 and grad_cam.max() <= 1


def test_onnx_runtime_uses_the_configured_threads(lesion_folder: Path):
    before = torch.get_num_threads()
    try:
        engine = load_lesion_engine(lesion_folder, engine="onnxruntime", num_threads=1)
    finally:
        torch.set_num_threads(before)

    assert isinstance(engine, OnnxLesionEngine)
    assert engine._session.get_session_options().intra_op_num_threads == 1


def test_the_gpu_engine_is_close_to_float32(int8_folder: Path):
    exact = load_lesion_engine(int8_folder, engine="pytorch")
    engine = load_lesion_engine(int8_folder, engine="pytorch-bf16", max_batch_size=3)
    assert isinstance(engine, GpuLesionEngine) and engine.sizes == (1, 2, 4)
    image = patch_images(7)  # a batch of four, and three padded to four

    found = engine(image, features=True, explain=[1, 6])
    expected = exact(image, features=True, explain=[1, 6])

    assert found.diagnosis_BK.shape == (7, 2)
    assert found.diagnosis_BK == pytest.approx(expected.diagnosis_BK, abs=0.05)
    assert found.malignant_B == pytest.approx(expected.malignant_B, abs=0.01)
    assert found.features_BCHW is not None and found.features_BCHW.shape == (7, 2048, 4, 4)
    for index in (1, 6):
        found_map, exact_map = found.grad_cam_RHW[index].ravel(), expected.grad_cam_RHW[index].ravel()
        assert np.corrcoef(found_map, exact_map)[0, 1] > 0.95


def test_an_empty_batch_on_a_gpu_has_empty_outputs(int8_folder: Path):
    found = load_lesion_engine(int8_folder, engine="pytorch-bf16")(patch_images(0), features=True)

    assert found.malignant_B.shape == (0,) and found.diagnosis_BK.shape == (0, 2)
    assert found.features_BCHW is not None and found.features_BCHW.shape == (0, 2048, 4, 4)


def reference_scope(folder: Path, image_BHWC: np.ndarray) -> np.ndarray:
    net = LesionNet(num_diagnoses=2, input_px=64, scope_head=True).eval()
    net.load_state_dict(load_weights(folder, read_meta(folder)))
    with torch.inference_mode():
        logits = net(normalize(torch.from_numpy(image_BHWC)))
    assert logits.scope_B is not None
    return logits.scope_B.sigmoid().numpy()


FLOAT_SCOPES = [("onnxruntime", 1e-5), ("pytorch", 1e-5), ("pytorch-bf16", 0.05)]
SLOW_SCOPES = [*FLOAT_SCOPES, *((one, 0.05) for one in INT8[1:])]


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [(INT8[0], 0.05), *(pytest.param(*one, marks=pytest.mark.slow) for one in SLOW_SCOPES)],
)
def test_every_engine_returns_the_scope(scope_folder: Path, name: EngineName, tolerance: float):
    image = patch_images(7)
    expected = reference_scope(scope_folder, image)

    engine = load_lesion_engine(scope_folder, engine=name, max_batch_size=3)
    engine.ping()
    found = engine(image, features=True, explain=[6])

    assert expected.std() > 0.015 and expected.mean() > 0.6
    assert found.scope_B is not None and found.scope_B.dtype == np.float32
    assert found.scope_B == pytest.approx(expected, abs=tolerance)
    assert np.corrcoef(found.scope_B, expected)[0, 1] > 0.6
    assert found.diagnosis_BK.shape == (7, 2) and found.diagnosis_BK.sum(1) == pytest.approx(1, abs=1e-5)
    assert found.grad_cam_RHW.keys() == {6}


@pytest.mark.slow
def test_engines_without_a_scope_head_return_no_scope(int8_folder: Path, ensemble_folder: Path):
    for name in ("pytorch", "onnxruntime", "pytorch-bf16", *INT8):
        assert load_lesion_engine(int8_folder, engine=name)(patch_images(1)).scope_B is None
    assert load_lesion_engine(ensemble_folder)(noise_images(1)).scope_B is None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pytorch", "onnxruntime", "pytorch-bf16"])
def test_an_ensemble_with_scope_heads_returns_their_mean(tmp_path: Path, name: EngineName):
    torch.manual_seed(5)
    architecture = {"num_members": 2, "num_diagnoses": 2, "input_px": 64, "scope_head": True}
    net = LesionEnsemble(num_members=2, num_diagnoses=2, input_px=64, scope_head=True).eval()
    meta = save_checkpoint(tmp_path, net, random_meta("lesion", architecture=architecture), "")
    net.load_state_dict(load_weights(tmp_path, meta))
    image = noise_images(2)

    found = load_lesion_engine(tmp_path, engine=name)(image).scope_B

    with torch.inference_mode():
        expected = net(normalize(torch.from_numpy(image))).scope_B
    assert expected is not None
    assert found == pytest.approx(expected.sigmoid().numpy(), abs=0.02 if "bf16" in name else 1e-5)


@pytest.mark.parametrize("name", ["pytorch", "onnxruntime", "pytorch-bf16", *INT8])
def test_no_engine_serves_a_network_with_nan_in_a_kernel(
    scope_folder: Path, tmp_path: Path, name: EngineName
):
    before = read_meta(scope_folder)
    net = LesionNet(num_diagnoses=2, input_px=64, scope_head=True)
    net.load_state_dict(load_weights(scope_folder, before))
    with torch.no_grad():
        next(net.parameters())[0, 0, 0, 0] = torch.nan
    save_checkpoint(tmp_path, net, before, "", int8_ranges=load_int8_ranges(scope_folder, before))

    with pytest.raises(CheckpointError, match="NaN or infinite"):
        load_lesion_engine(tmp_path, engine=name)


@pytest.mark.parametrize("name", ["malignant_B", "diagnosis_BK", "scope_B"])
def test_nan_in_any_probability_fails_the_ping(
    scope_folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    engine = load_lesion_engine(scope_folder, engine="pytorch")
    output = engine(patch_images(1))
    broken = replace(output, **{name: np.full_like(getattr(output, name), np.nan)})
    monkeypatch.setattr(engine, "_classify", lambda *_: broken)

    with pytest.raises(RuntimeError, match="a finite number is needed"):
        engine.ping()


def test_gpu_batch_sizes_are_powers_of_two():
    assert gpu_batch_sizes(1) == (1,)
    assert gpu_batch_sizes(48) == (1, 2, 4, 8, 16, 32, 64)
    assert gpu_batch_sizes(1000)[-1] == 256
