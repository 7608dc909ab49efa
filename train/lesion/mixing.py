"""Mixup and CutMix of the images of a batch.

Axes: B image of a batch, C colour, H row, W column.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from train.loop import Batch

TARGETS = ("risk", "diagnosis")


@dataclass(frozen=True, kw_only=True)
class Mixing:
    """Mixing of each image of a batch with another one."""

    other_B: Tensor
    """int64, index of the other image."""
    share: float
    """Share of the image itself in the result."""
    hole: tuple[slice, slice] | None
    """Rows and columns taken from the other image (CutMix); None: both images are averaged (mixup)."""


def sample_mixing(num_images: int, side_px: int, generator: torch.Generator) -> Mixing:
    """Sample mixup or CutMix with equal probability, and a share uniform from 0 to 1.

    Source: Zhang et al. 2018, arXiv:1710.09412; Yun et al. 2019, arXiv:1905.04899.
    """
    other_B = torch.randperm(num_images, generator=generator)
    share = torch.rand((), generator=generator).item()
    if torch.rand((), generator=generator) < 0.5:
        return Mixing(other_B=other_B, share=share, hole=None)
    hole_px = round(side_px * (1 - share) ** 0.5)
    top, left = torch.randint(side_px - hole_px + 1, (2,), generator=generator).tolist()
    hole = slice(top, top + hole_px), slice(left, left + hole_px)
    return Mixing(other_B=other_B, share=1 - hole_px**2 / side_px**2, hole=hole)


def mix(batch: Batch, mixing: Mixing) -> Batch:
    """Mix each image of a batch with another one, and the targets in the same proportion."""
    share, other_B = mixing.share, mixing.other_B
    image_BCHW = batch["image"]
    if mixing.hole is None:
        image_BCHW = share * image_BCHW + (1 - share) * image_BCHW[other_B]
    else:
        hole = (..., *mixing.hole)
        image_BCHW = image_BCHW.clone()
        image_BCHW[hole] = batch["image"][other_B][hole]
    targets = {name: share * batch[name] + (1 - share) * batch[name][other_B] for name in TARGETS}
    return {"image": image_BCHW, **targets}
