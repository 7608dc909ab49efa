"""Make images without a lesion: bare skin, portraits, objects, drawn patterns.

Axes: B image, C colour, H row, W column.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from train.gpu_recipe.geometry import Draw, Window, read_window, skin_background, smooth_noise
from train.gpu_recipe.photos import PhotoSet


class Scenes:
    """Compose images without a lesion from training photos.

    Args:
        draw: source of the random numbers; the caller may share it.
    """

    def __init__(self, photos: PhotoSet, draw: Draw) -> None:
        self.photos, self.draw = photos, draw
        others = photos.where(part=0, lesion=False)
        self.portraits = others[photos.skin_N[others]]
        self.objects = others[~photos.skin_N[others]]

    def skin(self, count: int, side_px: int, *, portraits: float = 0.15) -> Tensor:
        """Make skin without a lesion, some of it in front of objects, and a share of portraits."""
        image_BCHW = skin_background(self.photos, self.draw, count, side_px)
        band = self.limbs(self.draw.uniform(-0.8, 0.8, count, 2), side_px)
        scene = self.without_skin(count, side_px)
        image_BCHW = torch.where(
            self.draw.chance(0.25, count, 1, 1, 1), scene + band * (image_BCHW - scene), image_BCHW
        )
        if len(self.portraits):
            chosen = self.portraits[self.draw.integers(len(self.portraits), count)]
            face_BCHW, _ = read_window(self.photos, chosen, self.frame(chosen, 0.3, 1.0), side_px)
            image_BCHW = torch.where(self.draw.chance(portraits, count, 1, 1, 1), face_BCHW, image_BCHW)
        return image_BCHW

    def without_skin(self, count: int, side_px: int) -> Tensor:
        """Make images without skin: objects and scenes, blocks, gradients, noise, one colour."""
        blocks = self.draw.uniform(0, 1, count, 3, 12, 12)
        drawn = F.interpolate(blocks, size=(side_px, side_px), mode="nearest")
        smooth = smooth_noise(self.draw, count, side_px, 4) * 0.3 + self.draw.uniform(0, 1, count, 3, 1, 1)
        noise = self.draw.uniform(0, 1, count, 3, side_px, side_px)
        plain = self.draw.uniform(0, 1, count, 1, 1, 1).round() * self.draw.uniform(0.9, 1, count, 3, 1, 1)
        kind = self.draw.integers(4, count)[:, None, None, None]
        drawn = torch.where(
            kind == 0, drawn, torch.where(kind == 1, smooth, torch.where(kind == 2, noise, plain))
        )
        if not len(self.objects):
            return drawn.clamp(0, 1)
        place_B = self.objects[self.draw.integers(len(self.objects), count)]
        image_BCHW, _ = read_window(self.photos, place_B, self.frame(place_B, 0.25, 1.0), side_px)
        return torch.where(self.draw.chance(0.15, count, 1, 1, 1), drawn, image_BCHW).clamp(0, 1)

    def frame(self, place_B: Tensor, near: float, far: float) -> Window:
        """Sample shifted, rotated and stretched frames of photos; sizes relative to the whole photo."""
        size_B2, count = self.photos.size_N2[place_B], len(place_B)
        half_B2 = (
            size_B2
            / 2
            * self.draw.log_uniform(near, far, count, 1)
            * self.draw.log_uniform(0.8, 1.25, count, 2)
        )
        centre_B2 = size_B2 / 2 + half_B2 * self.draw.uniform(-0.45, 0.45, count, 2)
        return Window.turned(centre_B2, half_B2, self.draw)

    def limbs(self, at_B2: Tensor, side_px: int) -> Tensor:
        """Make soft bands in the shape of arms and legs through these positions, (B, 1, H, W)."""
        count = len(at_B2)
        step = torch.linspace(-1, 1, side_px, device=at_B2.device)
        angle = self.draw.uniform(0, 6.3, count, 1, 1)
        offset = angle.cos() * (step[None, :, None] - at_B2[:, :1, None]) + angle.sin() * (
            step[None, None] - at_B2[:, 1:, None]
        )
        width = self.draw.uniform(0.3, 1.0, count, 1, 1)
        return ((width - offset.abs()) * self.draw.log_uniform(4, 40, count, 1, 1)).clamp(0, 1)[:, None]
