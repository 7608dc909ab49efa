"""Export the trained localizer to ONNX: the file ``localizer.onnx`` of a lesion checkpoint.

``python -m train.gpu_recipe.export_localizer --out localizer.onnx`` includes the normalisation of pixels and
the sigmoids, and compares the file's outputs with those of the network.

Axes: B photo, C channel, H row, W column, G gate question (skin, lesion).
"""

import argparse
import hashlib
import json
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from safetensors.torch import load
from torch import Tensor, nn

from models.checkpoint import META, WEIGHTS, CheckpointError, read_verified
from models.lesion.localizer import INPUT_PX
from models.normalization import RGB
from train.gpu_recipe.networks import LesionLocalizer

OPSET = 17
MAX_DIFFERENCE = 1e-4
"""Of any probability between the file and the network, in float32."""


class ExportedLocalizer(nn.Module):
    """The localizer with uint8 pixels as input and probabilities as output."""

    mean_C11: Tensor
    std_C11: Tensor

    def __init__(self, net: LesionLocalizer, mean: RGB, std: RGB) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("mean_C11", torch.tensor(mean)[:, None, None] * 255)
        self.register_buffer("std_C11", torch.tensor(std)[:, None, None] * 255)

    def forward(self, image_BHWC: Tensor) -> tuple[Tensor, Tensor]:
        """Return the lesion map, (B, H / 2, W / 2), and the gate's answers, (B, 2)."""
        image_BCHW = (image_BHWC.permute(0, 3, 1, 2).float() - self.mean_C11) / self.std_C11
        logits = self.net(image_BCHW)
        return logits.lesion_BHW.sigmoid(), logits.gate_BG.sigmoid()


def load_localizer(folder: Path) -> ExportedLocalizer:
    """Load ``weights/localizer`` or another folder of the same form.

    Raises:
        CheckpointError: a file is missing or damaged.
    """
    try:
        meta: dict[str, Any] = json.loads((folder / META).read_bytes())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder / META} cannot be read ({error}); fetch the folder again") from error
    net = LesionLocalizer(tuple(meta["architecture"]["channels"]))
    weights = load(read_verified(folder / WEIGHTS, meta["weights_sha256"]))
    net.load_state_dict(
        {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}
    )
    return ExportedLocalizer(net, meta["mean"], meta["std"]).eval()


def export_localizer(localizer: ExportedLocalizer) -> bytes:
    """Return the ONNX file of a localizer, which reads batches of any size.

    Raises:
        CheckpointError: its outputs differ from those of the network.
    """
    image_BHWC = torch.randint(0, 256, (2, INPUT_PX, INPUT_PX, 3), dtype=torch.uint8)
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        path = Path(scratch) / "localizer.onnx"
        warnings.simplefilter("ignore", DeprecationWarning)  # the other exporter needs onnxscript
        torch.onnx.export(
            localizer,
            (image_BHWC,),
            path,
            dynamo=False,
            opset_version=OPSET,
            input_names=["image_BHWC"],
            output_names=["lesion_BHW", "gate_BG"],
            dynamic_axes={name: {0: "B"} for name in ("image_BHWC", "lesion_BHW", "gate_BG")},
        )
        content = path.read_bytes()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    found = session.run(None, {"image_BHWC": image_BHWC.numpy()})
    with torch.inference_mode():
        expected = localizer(image_BHWC)
    for one, other in zip(found, expected, strict=True):
        difference = float(np.abs(np.asarray(one) - other.numpy()).max())
        if not difference <= MAX_DIFFERENCE:
            raise CheckpointError(
                f"the exported localizer differs from the network by {difference:.2g}, at most "
                f"{MAX_DIFFERENCE:g} is allowed; export it with the versions of requirements.lock"
            )
    return content


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the file and print its hash."""
    parser = argparse.ArgumentParser(prog="python -m train.gpu_recipe.export_localizer", description=__doc__)
    parser.add_argument("--localizer", type=Path, default=Path("weights/localizer"), help="trained localizer")
    parser.add_argument("--out", type=Path, required=True, help=".onnx file to write")
    options = parser.parse_args(arguments)
    content = export_localizer(load_localizer(options.localizer))
    options.out.write_bytes(content)
    print(f"{options.out}: {len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
