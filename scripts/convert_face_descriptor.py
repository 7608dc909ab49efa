"""Convert the face descriptor of an npm package from TensorFlow.js files to a checkpoint.

``python -m scripts.convert_face_descriptor package/model weights/face-descriptor --manifest
data/faces/manifest.parquet``; the npm package ``@vladmandic/face-api`` (MIT licence) has the files. Kernels
stay uint8 where the package has them. The photos of the manifest decide the threshold of one person.

Axes: H row, W column, I input channel, O output channel.
"""

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from safetensors.torch import save
from torch import Tensor

from models.checkpoint import CARD, META, WEIGHTS, CheckpointMeta
from models.errors import EXIT_DONE, SkinserveError, command
from models.face.descriptor import (
    BLOCKS,
    INPUT_PX,
    KIND,
    MEAN,
    REDUCING_BLOCKS,
    STD,
    load_face_descriptor,
)
from models.face.detector import MtcnnFaceDetector
from models.face.metrics import SamePersonMetrics
from train.data.manifest import read_manifest
from train.progress.same_person import same_person_metrics

MANIFEST = "face_recognition_model-weights_manifest.json"
SOURCE = (
    "dlib's face recognition network (Davis E. King, 2017; public domain, CC0) in the npm package "
    "@vladmandic/face-api 1.7.15"
)
LICENCE = "MIT (@vladmandic/face-api, copyright (c) Vladimir Mandic)"
CARD_TEMPLATE = Path(__file__).with_name("face_descriptor_card.md")
UNCALIBRATED_DISTANCE = 0.6
"""Threshold of dlib, for its own alignment."""


class FaceDescriptorError(SkinserveError):
    """The folder does not hold the face descriptor."""


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """Convert a face descriptor to a checkpoint."""

    source: Annotated[Path, tyro.conf.Positional]
    """Folder with the manifest of the weights and the file beside it."""
    target: Annotated[Path, tyro.conf.Positional]
    """Folder of the checkpoint to write."""
    manifest: str = ""
    """Manifest of photos of people, for the threshold; empty: that of dlib, for its own alignment."""
    data: str = "Caltech-101 faces (Li et al. 2022, doi:10.22002/D1.20086), CC BY 4.0"
    """Description of these photos, for the model card."""


@command("python -m scripts.convert_face_descriptor")
def main(prog: str, arguments: Sequence[str] | None) -> int:
    """Convert the files that the command line names."""
    settings = tyro.cli(Conversion, args=arguments, prog=prog)
    content = save(convert(settings.source))
    meta = CheckpointMeta(
        kind=KIND,
        name="face-descriptor",
        version="1",
        architecture={},
        labels=(),
        groups={},
        input_px=INPUT_PX,
        mean=MEAN,
        std=STD,
        thresholds={"same_person": UNCALIBRATED_DISTANCE},
        training={"pretrained": SOURCE},
        training_data=f"not ours: {SOURCE}",
        data_fingerprint="",
        data_licence=LICENCE,
        weights_sha256=hashlib.sha256(content).hexdigest(),
    )
    settings.target.mkdir(parents=True, exist_ok=True)
    (settings.target / WEIGHTS).write_bytes(content)
    _write_meta(settings.target, meta, card=f"# Model card: face-descriptor\n\n{SOURCE}.\n")
    if settings.manifest:
        distance, metrics = same_person_metrics(
            read_manifest(settings.manifest), MtcnnFaceDetector(), load_face_descriptor(settings.target)
        )
        meta = meta.model_copy(update={"thresholds": {"same_person": distance}, "metrics": metrics})
        _write_meta(settings.target, meta, card=descriptor_card(meta, metrics, data=settings.data))
    return EXIT_DONE


def descriptor_card(meta: CheckpointMeta, metrics: SamePersonMetrics, *, data: str) -> str:
    """Return the model card, Markdown."""
    rows = [
        f"| {kind} | {rates.noticed.with_interval()} | {rates.noticed.n} "
        f"| {rates.false_alarms.with_interval()} | {rates.false_alarms.n} |"
        for kind, rates in metrics.rates.items()
    ]
    return CARD_TEMPLATE.read_text(encoding="utf-8").format(
        meta=meta, metrics=metrics, data=data, rates="\n".join(rows)
    )


def _write_meta(folder: Path, meta: CheckpointMeta, *, card: str) -> None:
    (folder / META).write_text(meta.model_dump_json(indent=2) + "\n", encoding="utf-8")
    (folder / CARD).write_text(card, encoding="utf-8")


def convert(folder: Path) -> dict[str, Tensor]:
    """Return the stored weights, as ``models.face.descriptor.dequantized`` reads them.

    The package scales and shifts the output of each convolution; both become part of its weights.

    Raises:
        FaceDescriptorError: a file is missing or truncated, or of another network.
    """
    try:
        arrays = _read(folder)
        weights = _convolution(arrays, "conv32_down", "stem")
        for number, name in enumerate(_block_names()):
            for convolution in ("conv1", "conv2"):
                weights |= _convolution(arrays, f"{name}/{convolution}", f"blocks.{number}.{convolution}")
        head_IO, scale, offset = arrays["fc"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FaceDescriptorError(f"{folder} does not hold the face descriptor ({error})") from error
    num_outputs = head_IO.shape[1]
    return weights | {
        "head.weight": torch.tensor(head_IO.T.copy()),
        "head.scale": torch.full((num_outputs,), scale),
        "head.offset": torch.full((num_outputs,), offset),
    }


Array = tuple[np.ndarray, float, float]
"""Values as stored, and the scale and offset that they need."""


def _block_names() -> list[str]:
    """Return the names of the package's blocks in the order of the network."""
    names: list[str] = []
    for number, (_, channels) in enumerate(BLOCKS):
        if number in REDUCING_BLOCKS:
            names.append(f"conv{channels}_down" + ("_out" if number == len(BLOCKS) - 1 else ""))
        else:
            stage = (f"conv{channels}_{index}" for index in range(1, len(BLOCKS)))
            names.append(next(name for name in stage if name not in names))
    return names


def _read(folder: Path) -> dict[str, Array]:
    """Read every array of a TensorFlow.js manifest by its name."""
    arrays: dict[str, Array] = {}
    for group in json.loads((folder / MANIFEST).read_text()):
        content = b"".join((folder / Path(path).name).read_bytes() for path in group["paths"])
        offset = 0
        for weight in group["weights"]:
            quantization = weight.get("quantization", {})
            dtype = np.dtype(quantization.get("dtype", weight["dtype"]))
            values = np.frombuffer(content, dtype, int(np.prod(weight["shape"])), offset)
            offset += values.nbytes
            arrays[weight["name"]] = (
                values.reshape(weight["shape"]),
                quantization.get("scale", 1.0),
                quantization.get("min", 0.0),
            )
    return arrays


def _convolution(arrays: dict[str, Array], source: str, target: str) -> dict[str, Tensor]:
    """Convert a convolution and the scale and shift of its output."""
    kernel_HWIO, scale, offset = arrays[f"{source}/conv/filters"]
    bias_O, factor_O, shift_O = (
        _values(arrays[f"{source}/{name}"]) for name in ("conv/bias", "scale/weights", "scale/biases")
    )
    kernel_OIHW = np.ascontiguousarray(kernel_HWIO.transpose(3, 2, 0, 1))
    converted: dict[str, Any] = {
        "weight": kernel_OIHW if kernel_OIHW.dtype == np.uint8 else kernel_OIHW.astype(np.float16),
        "scale": (scale * factor_O).astype(np.float32),
        "offset": (offset * factor_O).astype(np.float32),
        "bias": (bias_O * factor_O + shift_O).astype(np.float32),
    }
    return {f"{target}.{name}": torch.tensor(array) for name, array in converted.items()}


def _values(array: Array) -> np.ndarray:
    stored, scale, offset = array
    return stored.astype(np.float64) * scale + offset


if __name__ == "__main__":
    sys.exit(main())
