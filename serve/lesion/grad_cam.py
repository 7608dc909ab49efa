"""Grad-CAM maps as transparent pictures. Axes: H row, W column."""

import base64
import io

import numpy as np
from PIL import Image

SIDE_PX = 224
_BLUE = (20, 60, 255)  # contrasts with skin and lesions, which are red and brown
_MAX_ALPHA = 150


def grad_cam_png(grad_cam_HW: np.ndarray) -> str:
    """Draw a Grad-CAM map as an overlay for the central square of the photo.

    Args:
        grad_cam_HW: 0 to 1, of any size.

    Returns:
        Base64 of an RGBA PNG, 224 x 224, blue, with an opacity proportional to the map.
    """
    alpha = Image.fromarray((grad_cam_HW.clip(0, 1) * _MAX_ALPHA).round().astype(np.uint8))
    picture = Image.new("RGBA", (SIDE_PX, SIDE_PX), _BLUE)
    picture.putalpha(alpha.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC))
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=6)
    return base64.b64encode(file.getvalue()).decode("ascii")
