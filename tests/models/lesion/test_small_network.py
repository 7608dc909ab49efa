from pathlib import Path

import numpy as np
import pytest
import torch

from models.checkpoint import CheckpointError, load_int8_ranges, load_weights, read_meta, save_checkpoint
from models.lesion.engine_loader import load_lesion_engine, supported_int8_runtimes
from models.lesion.network import grad_cam
from models.lesion.quantization.int8 import Convolution, is_valid_range
from models.lesion.runtimes import EngineName
from models.lesion.shapes import SMALL_NETWORK
from models.lesion.small_network import SmallLesionNet
from models.lesion.small_shapes import small_activation_names
from models.preprocessing import normalize
from tests.int8_checkpoint import PatchPhotos, patch_images
from tests.random_checkpoints import int8_accepted, random_meta
from train.lesion.calibration_ranges import measure_ranges

ARCHITECTURE = {"network": SMALL_NETWORK, "num_diagnoses": 2, "input_px": 64}
INT8 = supported_int8_runtimes(SMALL_NETWORK)
HEAD_SCALE = 4
RELEASED = Path(__file__).parents[3] / "weights" / "lesion-small"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    net = SmallLesionNet(num_diagnoses=2, input_px=64)
    for part in net.modules():
        if isinstance(part, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
    with torch.no_grad():
        net.diagnosis_head[-1].get_parameter("weight").mul_(HEAD_SCALE)
    net.eval()
    ranges = measure_ranges(net, PatchPhotos())  # pyright: ignore[reportArgumentType]
    folder = tmp_path_factory.mktemp("small")
    meta = random_meta("lesion", architecture=ARCHITECTURE, metrics=int8_accepted({"onednn-int8": True}))
    save_checkpoint(folder, net, meta, "", int8_ranges=ranges)
    return folder


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [("pytorch", 1e-5), ("onnxruntime", 1e-5), ("pytorch-bf16", 0.05), *((one, 0.08) for one in INT8)],
)
def test_every_engine_gives_the_probabilities_of_training(folder: Path, name: EngineName, tolerance: float):
    image = patch_images(7)
    net = SmallLesionNet(num_diagnoses=2, input_px=64).eval()
    net.load_state_dict(load_weights(folder, read_meta(folder)))
    with torch.inference_mode():
        expected = net(normalize(torch.from_numpy(image)))
        features_BCHW = net.features(normalize(torch.from_numpy(image))).numpy()

    engine = load_lesion_engine(folder, engine=name, max_batch_size=3)
    engine.ping()
    found = engine(image, features=True, explain=[6])

    diagnosis_BK = expected.diagnosis_BK.softmax(1).numpy()
    assert diagnosis_BK.std(0).max() > 0.02
    assert engine.runtime == name and found.scope_B is None
    assert found.malignant_B == pytest.approx(expected.risk_BR.softmax(1)[:, 1].numpy(), abs=tolerance)
    assert found.diagnosis_BK == pytest.approx(diagnosis_BK, abs=tolerance)
    assert found.features_BCHW is not None and found.features_BCHW.shape == (7, 1280, 2, 2)
    assert np.corrcoef(found.features_BCHW.ravel(), features_BCHW.ravel())[0, 1] > 0.97
    assert found.grad_cam_RHW.keys() == {6} and found.grad_cam_RHW[6].shape == (2, 2, 2)


def test_closed_form_grad_cam_equals_autograd():
    net = SmallLesionNet(num_diagnoses=3, input_px=64).eval()
    features_CHW = torch.rand(1280, 4, 4, requires_grad=True)
    logit = net.classify(features_CHW[None]).risk_BR[0, 1]
    (slope_CHW,) = torch.autograd.grad(logit, features_CHW)
    expected_HW = (slope_CHW.sum(dim=(1, 2))[:, None, None] * features_CHW).sum(0).clamp_min(0)

    found_HW = grad_cam(net.risk_head, features_CHW.detach(), 1)

    assert torch.allclose(found_HW, expected_HW / expected_HW.max().clamp_min(1e-12), atol=1e-5)
    assert torch.equal(net.risk_grad_cam(features_CHW.detach())[1], found_HW)


def test_stored_weights_have_the_names_of_the_recipe():
    stored = SmallLesionNet(num_diagnoses=2, input_px=64).state_dict()

    assert {"stem.0.weight", "blocks.15.layers.7.weight", "top.1.bias", "risk_head.0.weight"} <= set(stored)
    assert not any(name.startswith("backbone.") for name in stored)


def test_int8_is_selected_only_where_it_exists(folder: Path, monkeypatch: pytest.MonkeyPatch):
    assert load_lesion_engine(folder).runtime == (INT8[0] if INT8 else "onnxruntime")
    with pytest.raises(ValueError, match=f"has no int8 for the network {SMALL_NETWORK}"):
        load_lesion_engine(folder, engine="onnxruntime-int8")

    monkeypatch.setattr("models.lesion.engine_loader.has_vnni", lambda: False)

    assert load_lesion_engine(folder).runtime == "onnxruntime"


def test_an_unknown_network_is_rejected(tmp_path: Path):
    meta = random_meta("lesion", architecture=ARCHITECTURE | {"network": "vgg"})
    save_checkpoint(tmp_path, SmallLesionNet(num_diagnoses=2, input_px=64), meta, "")

    with pytest.raises(CheckpointError, match="has the network 'vgg', this code has resnet50, efficientnet"):
        load_lesion_engine(tmp_path)


def test_every_activation_has_a_valid_range(folder: Path):
    ranges = load_int8_ranges(folder, read_meta(folder))

    assert ranges is not None and set(ranges) == set(small_activation_names())
    assert all(is_valid_range(name, values) for name, values in ranges.items())
    assert all(high <= 6 for name, (_, high) in ranges.items() if not name.endswith(".projection"))


def test_int8_kernels_keep_their_sums():
    kernel_OCHW = np.random.default_rng(0).normal(size=(64, 1, 3, 3)).astype(np.float32)

    def error_of_sums(*, keeps_sums: bool) -> float:
        convolution = Convolution(
            kernel_OCHW=kernel_OCHW, bias_O=np.zeros(64, np.float32), keeps_sums=keeps_sums
        )
        quantized_OCHW, scale_O = convolution.quantize(0.1)
        restored_OCHW = quantized_OCHW * scale_O[:, None, None, None]
        assert np.abs(restored_OCHW - kernel_OCHW).max() < 1.4 * np.abs(kernel_OCHW).max() / 254
        return float(np.abs((restored_OCHW - kernel_OCHW).sum((1, 2, 3))).mean())

    assert error_of_sums(keeps_sums=True) < 0.2 * error_of_sums(keeps_sums=False)


def test_the_released_checkpoint_answers_as_its_reference():
    image = np.random.default_rng(2).integers(0, 256, (2, 4, 4, 3), np.uint8)
    exact = load_lesion_engine(RELEASED, engine="pytorch")
    image = image.repeat(exact.meta.input_px // 4, axis=1).repeat(exact.meta.input_px // 4, axis=2)

    for name in ("auto", "onnxruntime"):
        found = load_lesion_engine(RELEASED, engine=name)(image)

        tolerance = 1e-4 if name == "onnxruntime" else 0.2
        assert found.malignant_B == pytest.approx(exact(image).malignant_B, abs=tolerance)
    assert exact.meta.gate is not None and exact.meta.gate["min_scope"] == 0
