"""Draw a series of photos of one face whose lesions change over time."""

import numpy as np
from PIL import Image, ImageEnhance

from samples.face import draw_face


def draw_series(*, improving: bool, num_photos: int = 5, seed: int) -> list[Image.Image]:
    """Draw photos of one person, oldest first; light and pose vary a little.

    Args:
        improving: whether the lesions become fewer and paler; else they become more and redder.
        num_photos: at least 2.
        seed: equal seeds give equal series.

    Raises:
        ValueError: ``num_photos`` is below 2.
    """
    if num_photos < 2:
        raise ValueError(f"num_photos is {num_photos}; a series has at least 2")
    rng = np.random.default_rng([seed, 1])
    severity_T = np.linspace(0.08, 1.0, num_photos)
    pictures: list[Image.Image] = []
    for severity in severity_T[::-1] if improving else severity_T:
        face = draw_face(num_lesions=round(34 * severity), redness=0.15 + 0.8 * severity, seed=seed)
        turned = face.rotate(rng.uniform(-3, 3), Image.Resampling.BICUBIC)
        edge = rng.uniform(0.03, 0.06, 4) * face.width
        crop = (edge[0], edge[1], face.width - edge[2], face.height - edge[3])
        framed = turned.resize(face.size, Image.Resampling.BICUBIC, box=crop)
        pictures.append(ImageEnhance.Brightness(framed).enhance(rng.uniform(0.93, 1.05)))
    return pictures
