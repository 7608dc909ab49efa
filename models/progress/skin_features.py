"""Redness and lesion maps of aligned face crops, the input of the progress network.

Axes: N crop, C channel, H row, W column, F cell of the face.
"""

from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from models.normalization import MEAN, STD
from models.progress.skin_constants import (
    LESION_WINDOWS_PX,
    NUM_CELLS,
    REFERENCE_QUANTILE,
    skin_mask,
    skin_share,
)


def skin_features(photo_NCHW: Tensor) -> Tensor:
    """Compute redness and lesion maps of aligned face crops, without learned weights.

    Redness is the logarithm of red over green and blue, which is invariant to brightness. Subtracting the
    ``REFERENCE_QUANTILE`` of each face makes it invariant to white balance. A lesion is redder than the mean
    of the window around it. Background, eyes and lips are masked, at the same position in every crop.

    Args:
        photo_NCHW: float, crops of ``models.face.detector``, normalised by ``models.preprocessing``.

    Returns:
        cells_NCHW: (N, 5, NUM_CELLS, NUM_CELLS): redness, then mean and maximum of lesions of two sizes.
    """
    skin = _skin_constants(photo_NCHW.shape[-1], photo_NCHW.dtype, photo_NCHW.device)
    red, green, blue = (photo_NCHW * skin.std_C11 + skin.mean_C11).clamp_min(0).add(0.05).log().unbind(1)
    redness = mean_filter((red - (green + blue) / 2).unsqueeze(1), 3)
    lesions = [
        (redness - mean_filter(redness, side)).clamp(0, 0.5) * skin.mask_HW for side in LESION_WINDOWS_PX
    ]
    level = F.avg_pool2d(redness, photo_NCHW.shape[-1] // NUM_CELLS)
    on_face = level.flatten(-2)[..., skin.cells_F].sort(dim=-1).values
    reference = on_face[..., int(REFERENCE_QUANTILE * on_face.shape[-1])][..., None, None]
    level = (5 * (level - reference)).clamp(-3, 3) * skin.cell_HW
    return torch.cat([level, average_and_max_pool(20 * torch.cat(lesions, dim=1), NUM_CELLS)], dim=1)


class _SkinConstants(NamedTuple):
    mean_C11: Tensor
    std_C11: Tensor
    mask_HW: Tensor
    """1 for a skin pixel, else 0."""
    cell_HW: Tensor
    """Fraction of skin pixels in each cell."""
    cells_F: Tensor
    """int64, the cells with more than half skin."""


@cache
def _skin_constants(size_px: int, dtype: torch.dtype, device: torch.device) -> _SkinConstants:
    """Return the constants of ``skin_features``, copied to each device once."""
    with torch.inference_mode(False):  # training uses them too
        mask_HW = torch.from_numpy(skin_mask(size_px))
        cell_HW = torch.from_numpy(skin_share(size_px))
        mean_C11, std_C11 = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
        cells_F = (cell_HW > 0.5).flatten().nonzero()[:, 0]
        floats = [one.to(device, dtype) for one in (mean_C11, std_C11, mask_HW, cell_HW)]
        return _SkinConstants._make([*floats, cells_F.to(device)])


def mean_filter(image_NCHW: Tensor, side: int) -> Tensor:
    """Return the mean of a ``side`` x ``side`` window around each pixel; a separable filter is cheaper."""
    rows = F.avg_pool2d(image_NCHW, (1, side), 1, (0, side // 2), count_include_pad=False)
    return F.avg_pool2d(rows, (side, 1), 1, (side // 2, 0), count_include_pad=False)


def average_and_max_pool(image_NCHW: Tensor, side: int) -> Tensor:
    """Return average and maximum pooling to ``side`` x ``side``, concatenated along the channels."""
    size = image_NCHW.shape[-1] // side
    return torch.cat([F.avg_pool2d(image_NCHW, size), F.max_pool2d(image_NCHW, size)], dim=1)
