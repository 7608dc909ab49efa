import base64
import io

import numpy as np
from PIL import Image

from serve.lesion.grad_cam import grad_cam_png


def test_the_picture_is_more_opaque_where_the_map_is_higher():
    grad_cam = np.zeros((4, 4))
    grad_cam[0, 0] = 1

    png = np.asarray(Image.open(io.BytesIO(base64.b64decode(grad_cam_png(grad_cam)))))

    assert png.shape == (224, 224, 4)
    assert png[20, 20, 3] > 150
    assert png[200, 200, 3] == 0
    assert (png[..., 2] > 2 * png[..., :2].max(-1)).all()
