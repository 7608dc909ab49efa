"""Train the localizer on lesion masks and on composites of lesions, skin and other objects.

Axes: B image, C colour, H row, W column.
"""

import copy
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from train.gpu_recipe.augment import Degradation, degrade, draw_overlays, gaussian_blur
from train.gpu_recipe.geometry import (
    Draw,
    Window,
    read_mask,
    read_mirrored_mask,
    read_window,
    recoloured,
    skin_background,
)
from train.gpu_recipe.measure import boxes_of_maps, lesion_maps, mask_iou, normalized
from train.gpu_recipe.networks import LesionLocalizer
from train.gpu_recipe.optimize import Budget, Trainer
from train.gpu_recipe.photos import MASK_STRIDE, SOURCES, PhotoSet
from train.gpu_recipe.scenes import Scenes


@dataclass(frozen=True, kw_only=True)
class LocalizerRecipe:
    """Settings of one training run of the localizer."""

    input_px: int = 128
    batch_size: int = 256
    learning_rate: float = 2e-3
    seed: int = 1
    self_training_from: float = 0.45
    """Share of the run after which the network's own maps are masks for sources without masks."""
    phone_share: float = 0.35
    """Share of phone photos once these have masks; the rest is dermoscopy."""
    degradation: Degradation = field(
        default_factory=lambda: Degradation(max_blur_px=6.0, blur=0.3, low_resolution=0.15, jpeg=0.2)
    )
    shares: tuple[float, ...] = (0.36, 0.26, 0.08, 0.12, 0.12, 0.06)
    """Of a batch: frames, distant lesions, two lesions, bare skin, no skin, lesion frames without a mask."""


@dataclass(frozen=True, kw_only=True)
class Composed:
    """Composite images with their masks and gate targets."""

    image_BCHW: Tensor
    mask_BHW: Tensor
    """Share of lesion, at half of the image's resolution."""
    is_skin_B: Tensor
    has_lesion_B: Tensor
    has_mask_B: Tensor


class LocalizerRun:
    """One training run of the localizer over photos that are on the device already."""

    def __init__(self, photos: PhotoSet, recipe: LocalizerRecipe) -> None:
        self.photos, self.recipe = photos, recipe
        torch.manual_seed(recipe.seed)
        self.draw = Draw(photos.device, recipe.seed)
        self.overlays = draw_overlays(128, recipe.input_px, recipe.seed).to(photos.device)
        self.net = LesionLocalizer().to(photos.device).to(memory_format=torch.channels_last)
        self.mean_net = copy.deepcopy(self.net).eval()
        self.lesions = photos.where(part=0)
        self.scenes = Scenes(photos, self.draw)
        self.unmasked = self._places_without_mask()
        self.num_pictures = 0

    def train(self, budget: Budget) -> LesionLocalizer:
        """Train for the budget; return the network with the mean weights."""
        trainer = Trainer(
            self.net, learning_rate=self.recipe.learning_rate, ema_decay=0.998, weight_decay=0.02
        )

        def self_train() -> None:
            trainer.mean.load_into(self.mean_net)
            self._adopt_masks()

        trainer.run(budget, self._loss, evaluate=self_train, evaluate_at=(self.recipe.self_training_from,))
        trainer.mean.load_into(self.mean_net)
        return self.mean_net

    def evaluate(self, part: int = 1) -> dict[str, float]:
        """Return the IoU on masks, and the shares of lesions found and of other images rejected."""
        photos, side_px = self.photos, self.recipe.input_px
        masked = photos.where(part=part)
        masked = masked[photos.source_N[masked] == SOURCES.index("ham10000")]
        maps, gates = lesion_maps(self.mean_net, photos, masked, side_px=side_px)
        metrics = {
            "iou": mask_iou(photos, masked, maps),
            "lesion_gate_ham10000": float((gates[:, 1] > 0.5).mean()),
        }
        for source in ("pad_ufes_20", "isic_msk", "isic2020"):
            own = photos.where(part=part)
            own = own[photos.source_N[own] == SOURCES.index(source)]
            if len(own):
                maps, gates = lesion_maps(self.mean_net, photos, own, side_px=side_px)
                metrics[f"lesion_gate_{source}"] = float((gates[:, 1] > 0.5).mean())
                metrics[f"found_{source}"] = float((maps.max((1, 2)) > 0.5).mean())
        for source in ("not_skin", "faces", "not_faces"):
            own = photos.where(part=part, lesion=False)
            own = own[photos.source_N[own] == SOURCES.index(source)]
            if len(own):
                _, gates = lesion_maps(self.mean_net, photos, own, side_px=side_px)
                metrics[f"refused_{source}"] = float((gates[:, 1] < 0.5).mean())
        skin = skin_background(photos, self.draw, 256, side_px)
        with (
            torch.no_grad(),
            torch.autocast(photos.device.type, torch.bfloat16, enabled=photos.device.type == "cuda"),
        ):
            gate_BG = self.mean_net(normalized(skin)).gate_BG
        metrics["refused_drawn_skin"] = float((gate_BG[:, 1] < 0).float().mean())
        metrics["pictures"] = float(self.num_pictures)
        return metrics

    def boxes(self) -> Tensor:
        """Return the boxes, (N, 4), of validation photos and of lesions without a mask from their source.

        All other photos, and photos without a detected lesion, have zeros.
        """
        photos = self.photos
        masked_N = (photos.source_N == SOURCES.index("ham10000")) & (photos.part_N != 1)
        place_N = ((photos.label_N >= 0) & (photos.part_N < 2) & ~masked_N).nonzero()[:, 0]
        maps, _ = lesion_maps(self.mean_net, photos, place_N, side_px=self.recipe.input_px)
        found_N4 = boxes_of_maps(maps, photos.size_N2[place_N].cpu().numpy())
        box_N4 = torch.zeros(len(photos.names), 4, device=photos.device)
        box_N4[place_N] = torch.from_numpy(found_N4).to(photos.device)
        return box_N4

    def compose(self) -> Composed:
        """Make one batch of images."""
        counts = [max(1, round(share * self.recipe.batch_size)) for share in self.recipe.shares]
        makers = (self._frames, self._distant, self._pairs, self._skin, self._no_skin, self._unmasked)
        parts = [make(count) for make, count in zip(makers, counts, strict=True)]
        image_BCHW = torch.cat([part.image_BCHW for part in parts])
        order = self.draw.uniform(0, 1, len(image_BCHW)).argsort()
        image_BCHW = degrade(image_BCHW[order], self.recipe.degradation, self.draw, self.overlays)
        self.num_pictures += len(order)
        return Composed(
            image_BCHW=image_BCHW,
            mask_BHW=torch.cat([part.mask_BHW for part in parts])[order],
            is_skin_B=torch.cat([part.is_skin_B for part in parts])[order],
            has_lesion_B=torch.cat([part.has_lesion_B for part in parts])[order],
            has_mask_B=torch.cat([part.has_mask_B for part in parts])[order],
        )

    def _loss(self, progress: float) -> Tensor:
        with torch.no_grad(), torch.autocast(self.photos.device.type, enabled=False):
            made = self.compose()
            image_BCHW = normalized(made.image_BCHW)
        lesion_BHW, gate_BG = self.net(image_BCHW)
        lesion_BHW, gate_BG = lesion_BHW.float(), gate_BG.float()
        known_B = made.has_mask_B.float()
        cross_B = F.binary_cross_entropy_with_logits(lesion_BHW, made.mask_BHW, reduction="none").mean((1, 2))
        probability = lesion_BHW.sigmoid()
        both = (probability * made.mask_BHW).sum((1, 2))
        dice_B = 1 - (2 * both + 8) / (probability.sum((1, 2)) + made.mask_BHW.sum((1, 2)) + 8)
        gate = F.binary_cross_entropy_with_logits(
            gate_BG, torch.stack([made.is_skin_B, made.has_lesion_B], dim=1).float()
        )
        return ((2 * cross_B + dice_B) * known_B).sum() / known_B.sum().clamp_min(1) + 0.5 * gate

    def _lesion_places(self, count: int) -> Tensor:
        """Sample training photos with a mask; oversample phone photos."""
        photos = self.photos
        weight_N = photos.has_mask_N[self.lesions].float()
        phone_N = photos.source_N[self.lesions] == SOURCES.index("pad_ufes_20")
        share = self.recipe.phone_share
        phones, rest = (weight_N * phone_N).sum(), (weight_N * ~phone_N).sum().clamp_min(1)
        factor = torch.where(phone_N, share / phones.clamp_min(1), (1 - share) / rest)
        return self.lesions[self.draw.weighted(weight_N * factor, count)]

    def _frames(self, count: int) -> Composed:
        """Make plain photos: shifted, rotated, scaled, and resized to a square."""
        place_B = self._lesion_places(count)
        window = self.scenes.frame(place_B, 0.45, 1.5)
        image_BCHW, depth_BHW = read_window(self.photos, place_B, window, self.recipe.input_px)
        mirrored = self.draw.chance(0.5, count)[:, None, None]
        mask_px = self.recipe.input_px // 2
        mask_BHW = torch.where(
            mirrored,
            read_mirrored_mask(self.photos, place_B, window, mask_px),
            read_mask(self.photos, place_B, window, mask_px),
        )
        background = recoloured(
            skin_background(self.photos, self.draw, count, self.recipe.input_px),
            self.photos.border_NC[place_B],
        )
        alpha = _soft_edge(depth_BHW, self.draw)
        alpha = torch.where(mirrored[:, None], torch.ones_like(alpha), alpha)
        return self._lesion_pictures(background + alpha * (image_BCHW - background), mask_BHW)

    def _distant(self, count: int) -> Composed:
        """Paste small lesions anywhere on other skin, some of it in front of other objects."""
        place_B = self._lesion_places(count)
        colour_BC = self.photos.border_NC[place_B]
        background = recoloured(
            skin_background(self.photos, self.draw, count, self.recipe.input_px), colour_BC
        )
        at_B2 = self.draw.uniform(-0.8, 0.8, count, 2)
        band = self.scenes.limbs(at_B2, self.recipe.input_px)
        scene = self.scenes.without_skin(count, self.recipe.input_px)
        background = torch.where(
            self.draw.chance(0.3, count, 1, 1, 1), scene + band * (background - scene), background
        )
        return self._lesion_pictures(*self._paste(place_B, at_B2, background, 1.3, 7.0))

    def _pairs(self, count: int) -> Composed:
        """Paste two lesions on one background."""
        places = self._lesion_places(count), self._lesion_places(count)
        colour_BC = self.photos.border_NC[places[0]]
        image_BCHW = recoloured(
            skin_background(self.photos, self.draw, count, self.recipe.input_px), colour_BC
        )
        side = 2.0 * self.draw.integers(2, count, 1) - 1
        mask_BHW: Tensor | None = None
        for place_B, sign in zip(places, (1, -1), strict=True):
            along = self.draw.uniform(0.3, 0.8, count, 1) * side * sign
            at_B2 = torch.cat([along, self.draw.uniform(-0.7, 0.7, count, 1)], dim=1)
            at_B2 = torch.where(self.draw.chance(0.5, 1), at_B2, at_B2.flip(1)) if sign < 0 else at_B2
            image_BCHW, own_BHW = self._paste(place_B, at_B2, image_BCHW, 1.8, 5.0)
            mask_BHW = own_BHW if mask_BHW is None else torch.maximum(mask_BHW, own_BHW)
        assert mask_BHW is not None
        return self._lesion_pictures(image_BCHW, mask_BHW)

    def _paste(
        self, place_B: Tensor, at_B2: Tensor, background: Tensor, near: float, far: float
    ) -> tuple[Tensor, Tensor]:
        """Paste lesions at positions, -1 to 1, of the backgrounds; return images and masks."""
        photos, draw, count, side_px = self.photos, self.draw, len(place_B), self.recipe.input_px
        size_B2 = photos.size_N2[place_B]
        half_B2 = size_B2 / 2 * draw.log_uniform(near, far, count, 1) * draw.log_uniform(0.85, 1.18, count, 2)
        window = Window.turned(size_B2 / 2, half_B2, draw)
        cos, sin = window.angle_B.cos(), window.angle_B.sin()
        down, right = at_B2[:, 0] * half_B2[:, 0], at_B2[:, 1] * half_B2[:, 1] * window.mirror_B
        shift = torch.stack([cos * down + sin * right, -sin * down + cos * right], dim=1)
        window = Window(
            centre_B2=size_B2 / 2 - shift, half_B2=half_B2, angle_B=window.angle_B, mirror_B=window.mirror_B
        )
        image_BCHW, depth_BHW = read_window(photos, place_B, window, side_px)
        mask_BHW = read_mask(photos, place_B, window, side_px)
        halo_px = side_px // 32
        halo = F.max_pool2d(mask_BHW[:, None], 2 * halo_px + 1, 1, halo_px)
        halo = gaussian_blur(halo, draw.uniform(0.5, halo_px, count)) * (depth_BHW[:, None] > 0)
        frame = _soft_edge(depth_BHW, draw)
        alpha = torch.where(draw.chance(0.65, count, 1, 1, 1), halo, frame)
        picture = background + alpha * (image_BCHW - background)
        return picture, F.avg_pool2d((mask_BHW * alpha[:, 0].gt(0.3))[:, None], MASK_STRIDE)[:, 0]

    def _skin(self, count: int) -> Composed:
        return self._empty_pictures(self.scenes.skin(count, self.recipe.input_px), is_skin=True)

    def _no_skin(self, count: int) -> Composed:
        return self._empty_pictures(self.scenes.without_skin(count, self.recipe.input_px), is_skin=False)

    def _unmasked(self, count: int) -> Composed:
        """Make frames of lesions without masks, for the gate."""
        place_B = self.unmasked[self.draw.integers(len(self.unmasked), count)]
        image_BCHW, _ = read_window(
            self.photos, place_B, self.scenes.frame(place_B, 0.7, 1.2), self.recipe.input_px
        )
        made = self._lesion_pictures(image_BCHW, torch.zeros_like(image_BCHW[:, 0, ::2, ::2]))
        return Composed(**(vars(made) | {"has_mask_B": torch.zeros_like(made.has_mask_B)}))

    def _lesion_pictures(self, image_BCHW: Tensor, mask_BHW: Tensor) -> Composed:
        ones = torch.ones(len(image_BCHW), dtype=torch.bool, device=image_BCHW.device)
        seen = (mask_BHW > 0.5).sum((1, 2)) >= 4
        return Composed(
            image_BCHW=image_BCHW, mask_BHW=mask_BHW, is_skin_B=ones, has_lesion_B=seen, has_mask_B=ones
        )

    def _empty_pictures(self, image_BCHW: Tensor, *, is_skin: bool) -> Composed:
        ones = torch.ones(len(image_BCHW), dtype=torch.bool, device=image_BCHW.device)
        return Composed(
            image_BCHW=image_BCHW,
            mask_BHW=torch.zeros_like(image_BCHW[:, 0, ::2, ::2]),
            is_skin_B=ones if is_skin else ~ones,
            has_lesion_B=~ones,
            has_mask_B=ones,
        )

    def _adopt_masks(self) -> None:
        """Use confident maps of the network as masks of training photos without one (pseudo-labels)."""
        photos = self.photos
        place_N = self.lesions[~photos.has_mask_N[self.lesions]]
        if not len(place_N):
            return
        maps, _ = lesion_maps(self.mean_net, photos, place_N, side_px=self.recipe.input_px)
        map_NHW = torch.from_numpy(maps).to(photos.device)
        area_N = (map_NHW > 0.5).float().mean((1, 2))
        sure_N = (map_NHW.amax((1, 2)) > 0.8) & (area_N > 0.01) & (area_N < 0.8)
        for place, map_HW in zip(place_N[sure_N].tolist(), map_NHW[sure_N], strict=True):
            height, width = (int(size) // MASK_STRIDE for size in photos.size_N2[place].tolist())
            fitted = F.interpolate(map_HW[None, None], size=(height, width), mode="bilinear")[0, 0]
            photos.mask_NHW[place, :height, :width] = (fitted * 255).to(torch.uint8)
        photos.has_mask_N[place_N[sure_N]] = True
        self.unmasked = self._places_without_mask()

    def _places_without_mask(self) -> Tensor:
        place_N = self.lesions[~self.photos.has_mask_N[self.lesions]]
        return place_N if len(place_N) else self.lesions


def _soft_edge(depth_BHW: Tensor, draw: Draw) -> Tensor:
    """Return an opacity that fades out at the photo's edges, (B, 1, H, W)."""
    feather = draw.log_uniform(2, 40, len(depth_BHW), 1, 1)
    return (depth_BHW / feather).clamp(0, 1)[:, None]
