"""Brightness of a face, to tell whether photos of a series were taken in different light.

Axes: H row, W column, C colour. Measured in docs/decisions/0045-light-of-a-series.md.
"""

import numpy as np

MAX_BRIGHTNESS_RATIO = 1.7
"""Of the brightest to the darkest face of a series; above it the light can look like a change of the skin."""
_LUMINANCE_C = np.array([0.2126, 0.7152, 0.0722])
_MIN_LUMINANCE = 0.005
"""Of a face in a black photo, so that ratios are finite."""


def face_brightness(crop_HWC: np.ndarray) -> float:
    """Return the luminance of the middle of a face: median of its middle half in height and width.

    Args:
        crop_HWC: uint8, sRGB, the crop of ``models.face.detector``.

    Returns:
        Linear luminance from 0 to 1; at least 0.005.
    """
    height, width = crop_HWC.shape[:2]
    middle = crop_HWC[height // 4 : height - height // 4, width // 4 : width - width // 4] / 255
    linear = np.where(middle <= 0.04045, middle / 12.92, ((middle + 0.055) / 1.055) ** 2.4)
    return max(_MIN_LUMINANCE, float(np.median(linear @ _LUMINANCE_C)))
