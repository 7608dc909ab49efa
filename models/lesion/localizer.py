"""Find the lesion in a photo with a small network, ONNX Runtime on a CPU; importable without torch.

The network is ``train.gpu_recipe.networks.LesionLocalizer``, exported by
``train.gpu_recipe.export_localizer``. Measurements: docs/decisions/0024-localizer-and-gate.md.

Axes: B photo, H row, W column, C colour, G gate question (skin, lesion).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage

from models.checkpoint import LOCALIZER, CheckpointError, read_verified
from models.lesion.gate import LesionGate
from models.onnx_session import cpu_session

INPUT_PX = 128
"""Side of the localizer's input, the whole photo without its aspect ratio."""
LESION_THRESHOLD = 0.5
"""Probability above which a cell of the map belongs to a lesion."""
CROP_MARGIN = 2.4
"""Side of the network's crop, relative to the longer side of the lesion's box.

By validation, malignancy AUROC at 1.5, 2.0, 2.6 and 3.4: HAM10000 0.905, 0.911, 0.916, 0.917; phone photos
0.932, 0.964, 0.968, 0.967; MSK 0.825, 0.842, 0.838, 0.829.
"""
MIN_CROP_SHARE = 0.12
"""Smallest side of a crop, relative to the photo's short side."""
_REDUCING_GAP = 3.0
_IMAGE, _OUTPUTS = "image_BHWC", ["lesion_BHW", "gate_BG"]


class Box(NamedTuple):
    """A rectangle in an upright photo: pixels, or shares of its width and height."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def longer_side(self) -> float:
        """Return the larger one of width and height."""
        return max(self.right - self.left, self.bottom - self.top)

    def scaled(self, horizontal: float, vertical: float) -> "Box":
        """Return the box in other units, by a factor for each direction."""
        return Box(
            self.left * horizontal, self.top * vertical, self.right * horizontal, self.bottom * vertical
        )


@dataclass(frozen=True, kw_only=True)
class MainLesion:
    """The largest and most central lesion of a probability map."""

    box: Box
    """Shares of the frame."""
    peak: float
    """Largest probability inside."""
    several: bool
    """Whether another lesion of at least a quarter of its size is in the frame."""


@dataclass(frozen=True, kw_only=True)
class Localization:
    """Result of the localizer for one photo."""

    box: Box | None
    """Of the main lesion, shares of the frame; None if no lesion was found."""
    skin: float
    """Probability that the photo shows skin."""
    lesion: float
    """Probability that the photo shows a lesion."""
    several: bool
    """Whether another lesion of at least a quarter of its size is in the frame."""


class Localizer:
    """Run ``localizer.onnx`` of a checkpoint; several threads may call it at once.

    Args:
        folder: of the checkpoint.
        gate: of the checkpoint, with the file's hash.
        num_threads: of one call.

    Raises:
        CheckpointError: the file is missing, has another hash, or is no localizer.
    """

    def __init__(self, folder: Path, gate: LesionGate, num_threads: int = 1) -> None:
        content = read_verified(folder / LOCALIZER, gate.localizer_sha256)
        try:
            self._session = cpu_session(content, num_threads)
            found = self(np.zeros((INPUT_PX, INPUT_PX, 3), np.uint8))
        except Exception as error:  # the exceptions of ONNX Runtime share no class of its own
            raise CheckpointError(
                f"{folder / LOCALIZER} cannot be run as a localizer ({error}); export it again with "
                "train.gpu_recipe.export_localizer"
            ) from error
        if not np.isfinite((found.skin, found.lesion)).all():
            raise CheckpointError(
                f"{folder / LOCALIZER} returns {found.skin} and {found.lesion}, probabilities are needed; "
                "export it again with train.gpu_recipe.export_localizer"
            )

    def __call__(self, image_HWC: np.ndarray) -> Localization:
        """Find the main lesion of one photo.

        Args:
            image_HWC: uint8, (H, W, 3), RGB, the whole photo, upright, of any size.
        """
        image = Image.fromarray(image_HWC)
        small = image.resize((INPUT_PX, INPUT_PX), Image.Resampling.BICUBIC, reducing_gap=_REDUCING_GAP)
        lesion_BHW, gate_BG = map(np.asarray, self._session.run(_OUTPUTS, {_IMAGE: np.asarray(small)[None]}))
        main = find_main_lesion(lesion_BHW[0])
        return Localization(
            box=None if main is None else main.box,
            skin=float(gate_BG[0, 0]),
            lesion=float(gate_BG[0, 1]),
            several=main is not None and main.several,
        )


def find_main_lesion(probability_HW: np.ndarray, *, threshold: float = LESION_THRESHOLD) -> MainLesion | None:
    """Return the largest and most central lesion; None if no cell exceeds the threshold."""
    labels_HW = np.empty(probability_HW.shape, np.int32)
    count = int(ndimage.label(probability_HW > threshold, output=labels_HW))  # pyright: ignore[reportArgumentType]
    if not count:
        return None
    height, width = probability_HW.shape
    row, column = np.nonzero(labels_HW)  # one entry for each cell of any lesion
    lesion, weight = labels_HW[row, column] - 1, probability_HW[row, column]
    area = np.bincount(lesion)
    mass = np.bincount(lesion, weight)
    down = np.bincount(lesion, weight * row) / mass / height - 0.5
    right = np.bincount(lesion, weight * column) / mass / width - 0.5
    best = int(np.argmax(area * (1.2 - np.hypot(down, right))))
    own = lesion == best
    others = np.delete(area, best)
    return MainLesion(
        box=Box(
            float(column[own].min() / width),
            float(row[own].min() / height),
            float((column[own].max() + 1) / width),
            float((row[own].max() + 1) / height),
        ),
        peak=float(weight[own].max()),
        several=bool(len(others) and others.max() >= max(0.25 * area[best], 6)),
    )


def crop_square(box: Box | None, width_px: int, height_px: int) -> Box:
    """Return the square that the network reads, in pixels, inside the photo.

    Args:
        box: of the lesion, shares of the frame. The square is ``CROP_MARGIN`` times as large as its longer
            side, at least ``MIN_CROP_SHARE`` of the photo's short side and at most all of it. None: the
            central square.
        width_px: of the upright photo, like ``height_px``.
    """
    short = min(width_px, height_px)
    if box is None:
        left, top = (width_px - short) // 2, (height_px - short) // 2
        return Box(left, top, left + short, top + short)
    box_px = box.scaled(width_px, height_px)
    side = min(short, max(MIN_CROP_SHARE * short, CROP_MARGIN * box_px.longer_side))
    left = min(max((box_px.left + box_px.right - side) / 2, 0), width_px - side)
    top = min(max((box_px.top + box_px.bottom - side) / 2, 0), height_px - side)
    return Box(left, top, left + side, top + side)
