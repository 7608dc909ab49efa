from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models import resnet50
from torchvision.models.resnet import Bottleneck, ResNet

from models.lesion.network import LesionNet
from models.normalization import MEAN
from models.preprocessing import normalize
from scripts.convert_keras_resnet50 import KerasWeightsError, convert, main
from tests.scripts.keras_files import STAGES, Arrays, draw_keras_arrays, write_keras_model
from train.lesion.pretrained import initialize

KERAS_MEAN_BGR = (103.939, 116.779, 123.68)
SMALL: Arrays = {"conv1/kernel": np.zeros((7, 7, 3, 64), np.float32)}
"""One array, for files to damage."""


@pytest.mark.slow
def test_the_converted_network_computes_what_keras_computes(tmp_path: Path):
    arrays = draw_keras_arrays()
    net = LesionNet(num_diagnoses=2, input_px=64)
    file = tmp_path / "backbone.safetensors"

    assert main([str(write_keras_model(arrays, tmp_path / "keras")), str(file)]) == 0
    initialization = initialize(net, str(file), labels=())

    generator = torch.Generator().manual_seed(0)
    pixels_BHWC = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8, generator=generator)
    backbone = _with_keras_strides(resnet50(), net)
    with torch.inference_mode():
        features = backbone(normalize(pixels_BHWC))
        expected = _keras_forward(arrays, pixels_BHWC)
    torch.testing.assert_close(features, expected, rtol=1e-3, atol=1e-3 * expected.std().item())
    assert initialization == "Keras's ImageNet weights"


def test_the_mean_of_the_pixels_is_that_of_keras_to_half_a_grey_level():
    assert 255 * np.array(MEAN[::-1]) == pytest.approx(KERAS_MEAN_BGR, abs=0.5)


def test_a_missing_file_is_named(tmp_path: Path):
    folder = write_keras_model(SMALL, tmp_path)
    (folder / "group1-shard2of2.bin").unlink()

    with pytest.raises(KerasWeightsError, match=r"does not hold Keras's ResNet50 .*shard2of2"):
        convert(folder)


def test_a_truncated_file_is_rejected(tmp_path: Path):
    folder = write_keras_model(SMALL, tmp_path)
    shard = folder / "group1-shard2of2.bin"
    shard.write_bytes(shard.read_bytes()[:-400])

    with pytest.raises(KerasWeightsError, match=r"does not hold Keras's ResNet50 .*buffer"):
        convert(folder)


def test_another_network_is_rejected_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = write_keras_model({"Conv1/kernel": np.zeros((3, 3, 3, 8), np.float32)}, tmp_path)

    assert main([str(folder), str(tmp_path / "backbone.safetensors")]) == 1

    message = capsys.readouterr().err
    assert "does not hold Keras's ResNet50" in message and message.count("\n") == 1


def test_quantized_weights_are_rejected(tmp_path: Path):
    folder = write_keras_model(SMALL, tmp_path)
    model = (folder / "model.json").read_text()
    (folder / "model.json").write_text(model.replace("float32", "uint8"))

    with pytest.raises(KerasWeightsError, match="conv1/kernel is not stored as float32"):
        convert(folder)


def _with_keras_strides(backbone: ResNet, net: LesionNet) -> ResNet:
    """Return torchvision's ResNet with the weights of ``net`` and the strides of Keras."""
    backbone.fc = torch.nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
    backbone.load_state_dict(net.backbone.state_dict())
    for layer in (backbone.layer2, backbone.layer3, backbone.layer4):
        first = layer[0]
        assert isinstance(first, Bottleneck)
        first.conv1.stride, first.conv2.stride = (2, 2), (1, 1)
    return backbone.eval()


def _keras_forward(arrays: Arrays, pixels_BHWC: Tensor) -> Tensor:
    """Keras's ResNet50 up to its mean over the last map, from the definition of its layers, with our mean."""

    def layer(x: Tensor, name: str, norm: str, stride: int = 1, padding: int = 0) -> Tensor:
        kernel = torch.from_numpy(arrays[f"{name}/kernel"]).permute(3, 2, 0, 1)
        x = F.conv2d(x, kernel, torch.from_numpy(arrays[f"{name}/bias"]), stride, padding)
        mean, variance, gamma, beta = (
            torch.from_numpy(arrays[f"{norm}/{one}"])
            for one in ("moving_mean", "moving_variance", "gamma", "beta")
        )
        return F.batch_norm(x, mean, variance, gamma, beta, eps=1e-3)

    x = pixels_BHWC.flip(-1).float() - 255 * torch.tensor(MEAN[::-1])
    x = layer(x.movedim(-1, 1), "conv1", "bn_conv1", stride=2, padding=3).relu()
    x = F.max_pool2d(x, 3, 2, 1)
    for stage, (num_blocks, _, _) in STAGES.items():
        for block in "abcdef"[:num_blocks]:
            stride = 2 if block == "a" and stage > 2 else 1
            name = f"{stage}{block}_branch"
            inner = layer(x, f"res{name}2a", f"bn{name}2a", stride=stride).relu()
            inner = layer(inner, f"res{name}2b", f"bn{name}2b", padding=1).relu()
            inner = layer(inner, f"res{name}2c", f"bn{name}2c")
            if block == "a":
                x = layer(x, f"res{name}1", f"bn{name}1", stride=stride)
            x = (x + inner).relu()
    return x.mean(dim=(2, 3))
