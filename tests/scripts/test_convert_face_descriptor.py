"""The conversion, compared with a forward pass written from the package's layers."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.errors import EXIT_DONE, EXIT_FAILED
from models.face.descriptor import INPUT_PX, load_face_descriptor
from scripts.convert_face_descriptor import MANIFEST, main

FLOAT_STAGE = "conv64"
"""The package stores some kernels of this stage as float32."""


def layers() -> dict[str, tuple[int, ...]]:
    """Kernels of the package, (H, W, I, O), in the order of its file."""
    shapes: dict[str, tuple[int, ...]] = {"conv32_down": (7, 7, 3, 32)}
    for before, channels, count in ((32, 32, 3), (32, 64, 3), (64, 128, 2), (128, 256, 2)):
        blocks = [f"conv{channels}_{number}" for number in range(1, count + 1)]
        if before != channels:
            blocks.insert(0, f"conv{channels}_down")
        for block in blocks:
            shapes[f"{block}/conv1"] = (3, 3, before if block.endswith("down") else channels, channels)
            shapes[f"{block}/conv2"] = (3, 3, channels, channels)
    return shapes | {f"conv256_down_out/conv{number}": (3, 3, 256, 256) for number in (1, 2)}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Tensor]]:
    """Return a folder like the package's, with random weights, and their values by name."""
    folder, rng = tmp_path_factory.mktemp("package"), np.random.default_rng(0)
    content, weights, values = b"", [], {}

    def add(name: str, shape: tuple[int, ...], low: float, high: float, *, quantized: bool = True) -> None:
        nonlocal content
        entry = {"name": name, "shape": shape, "dtype": "float32"}
        if quantized:
            scale = (high - low) / 255
            stored = rng.integers(0, 256, shape, np.uint8)
            entry["quantization"] = {"dtype": "uint8", "scale": scale, "min": low}
            value = stored * scale + low
        else:
            value = stored = rng.uniform(low, high, shape).astype(np.float16).astype(np.float32)
        content += stored.tobytes()
        weights.append(entry)
        values[name] = torch.tensor(value, dtype=torch.float32)

    for layer, shape in layers().items():
        bound = (3 / np.prod(shape[:3])) ** 0.5
        add(f"{layer}/conv/filters", shape, -bound, bound, quantized=not layer.startswith(FLOAT_STAGE))
        add(f"{layer}/conv/bias", shape[3:], -0.1, 0.1)
        add(f"{layer}/scale/weights", shape[3:], 0.5, 1.5)
        add(f"{layer}/scale/biases", shape[3:], -0.1, 0.1)
    add("fc", (256, 128), -0.1, 0.1)
    (folder / "weights.bin").write_bytes(content)
    (folder / MANIFEST).write_text(json.dumps([{"paths": ["weights.bin"], "weights": weights}]))
    return folder, values


def convolution(values: dict[str, Tensor], state: Tensor, name: str, *, stride: int, padding: int) -> Tensor:
    kernel = values[f"{name}/conv/filters"].permute(3, 2, 0, 1)
    state = F.conv2d(state, kernel, values[f"{name}/conv/bias"], stride=stride, padding=padding)
    return (
        state * values[f"{name}/scale/weights"][:, None, None] + values[f"{name}/scale/biases"][:, None, None]
    )


def package_forward(values: dict[str, Tensor], face_BHWC: np.ndarray) -> Tensor:
    """Return the descriptors as the package computes them."""
    pixels = torch.tensor(face_BHWC, dtype=torch.float32) - torch.tensor([122.782, 117.001, 104.298])
    state = (pixels / 255).permute(0, 3, 1, 2)
    state = F.max_pool2d(convolution(values, state, "conv32_down", stride=2, padding=0).relu(), 3, 2)
    for block in dict.fromkeys(name.split("/")[0] for name in layers() if "/" in name):
        down = "down" in block
        stride, padding = (2, 0) if down else (1, 1)
        inner = convolution(values, state, f"{block}/conv1", stride=stride, padding=padding).relu()
        inner = convolution(values, inner, f"{block}/conv2", stride=1, padding=1)
        shortcut = F.avg_pool2d(state, 2) if down else state
        if shortcut.shape[2:] != inner.shape[2:]:
            inner = F.pad(inner, (0, 1, 0, 1))
        if shortcut.shape[1] != inner.shape[1]:
            shortcut = torch.cat([shortcut, torch.zeros_like(shortcut)], 1)
        state = (inner + shortcut).relu()
    return state.mean((2, 3)) @ values["fc"]


@torch.inference_mode()
def test_the_converted_network_gives_the_descriptors_of_the_package(package, tmp_path: Path):
    folder, values = package
    face_BHWC = np.random.default_rng(1).integers(0, 256, (2, INPUT_PX, INPUT_PX, 3), np.uint8)

    assert main([str(folder), str(tmp_path / "converted")]) == EXIT_DONE

    descriptor = load_face_descriptor(tmp_path / "converted")
    expected = package_forward(values, face_BHWC).numpy()
    np.testing.assert_allclose(descriptor(face_BHWC), expected, atol=1e-3 * np.abs(expected).max())
    assert descriptor.max_distance == 0.6


def test_another_folder_is_rejected(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main([str(tmp_path), str(tmp_path / "converted")]) == EXIT_FAILED

    assert "does not hold the face descriptor" in capsys.readouterr().err
