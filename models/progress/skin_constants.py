"""Constants of the skin features; importable without torch."""

from functools import cache

import numpy as np

from models.face.alignment import crop_coordinates

NUM_CELLS = 20
"""Cells along one side of the skin feature maps."""
REFERENCE_QUANTILE = 0.3
"""Quantile of the redness of a face's cells that is subtracted from all of them."""
LESION_WINDOWS_PX = (7, 11)
"""Sides of the windows whose mean redness is subtracted to find small red lesions."""
HEAD_GRID = 5
"""Cells along one side of the input of the dense layer."""


@cache
def skin_mask(size_px: int) -> np.ndarray:
    """Return the mask of cheeks, forehead, nose and chin in an aligned crop: float32 (H, W), 0 or 1."""
    x_HW, y_HW = crop_coordinates(size_px)
    x_HW = abs(x_HW)
    face_HW = (x_HW / 1.0) ** 2 + ((y_HW - 0.45) / 1.3) ** 2 < 1
    eyes_HW = (x_HW > 0.2) & (x_HW < 0.8) & (abs(y_HW) < 0.18)
    mouth_HW = (x_HW < 0.5) & (abs(y_HW - 1.1) < 0.18)
    return (face_HW & ~eyes_HW & ~mouth_HW).astype(np.float32)


def skin_share(size_px: int) -> np.ndarray:
    """Return the share of skin pixels in each cell: float32 (NUM_CELLS, NUM_CELLS)."""
    side = size_px // NUM_CELLS
    return skin_mask(size_px).reshape(NUM_CELLS, side, NUM_CELLS, side).mean((1, 3))
