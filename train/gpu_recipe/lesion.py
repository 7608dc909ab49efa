"""Train a lesion network on all sources, and distil a small one from it.

Axes: B photo, C colour, H row, W column, K diagnosis, R risk group, N photo of the set, S source.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.gpu_recipe.augment import Degradation, degrade, draw_overlays
from train.gpu_recipe.geometry import (
    Draw,
    Window,
    central_square,
    read_window,
    recoloured,
    skin_background,
)
from train.gpu_recipe.measure import (
    DIAGNOSES,
    MALIGNANT,
    SOURCE_DIAGNOSES,
    lesion_summary,
    normalized,
    predictions,
)
from train.gpu_recipe.optimize import Budget, Trainer
from train.gpu_recipe.photos import SOURCES, PhotoSet
from train.gpu_recipe.scenes import Scenes

BENIGN_WITHOUT_DIAGNOSIS = len(DIAGNOSES)
Log = Callable[[dict[str, object]], None]


@dataclass(frozen=True, kw_only=True)
class LesionRecipe:
    """Settings of one training run of a lesion network."""

    stages: tuple[tuple[int, float], ...] = ((160, 1.0),)
    """Input side and share of the time, for each part of the run."""
    batch_size: int = 192
    learning_rate: float = 6e-4
    weight_decay: float = 0.05
    ema_decay: float = 0.999
    label_smoothing: float = 0.05
    source_shares: dict[str, float] = field(
        default_factory=lambda: {"ham10000": 0.46, "pad_ufes_20": 0.22, "isic_msk": 0.24, "isic2020": 0.08}
    )
    class_balance: float = 0.5
    """Within a source a class counts as its number of photos to the power of 1 minus this."""
    crop_share: float = 0.6
    """Share of crops among the photos with a known box; the others are frames."""
    crop_margins: tuple[float, float] = (1.0, 2.2)
    frame_scales: tuple[float, float] = (0.7, 2.0)
    own_diagnoses: float = 0.5
    """Weight of the loss over the diagnoses of the photo's source; the rest is over all diagnoses."""
    degradation: Degradation = field(default_factory=Degradation)
    ease_from: float = 0.8
    """Progress from which each degradation changes half as many photos."""
    out_of_scope: float = 0.1
    """Share of a batch without a lesion, for the scope head."""
    scope_weight: float = 0.3
    teacher_px: int = 0
    """Input side of the teacher; 0: that of the network."""
    evaluate_at: tuple[float, ...] = (0.3, 0.5, 0.7, 0.85)
    select: bool = True
    """Release the mean weights of the best evaluation, else of the end."""
    distill: float = 0.7
    """Weight of the distillation loss if there is a teacher."""
    temperature: float = 2.0
    seed: int = 1


class LesionRun:
    """One training run over photos that are on the device already.

    Args:
        box_N4: centre, height and width of the lesion in each photo for training; zeros where unknown.
        found_box_N4: the same by the localizer alone, for evaluation.
        without: sources that are left out of training.
        teacher: network whose outputs are training targets beside the labels.
    """

    def __init__(
        self,
        net: nn.Module,
        photos: PhotoSet,
        recipe: LesionRecipe,
        *,
        box_N4: Tensor,
        found_box_N4: Tensor,
        log: Log,
        without: frozenset[str] = frozenset(),
        teacher: nn.Module | None = None,
    ) -> None:
        self.net, self.photos, self.recipe, self.log = net, photos, recipe, log
        self.box_N4, self.found_box_N4, self.teacher = box_N4, found_box_N4, teacher
        self.draw = Draw(photos.device, recipe.seed)
        self.scenes = Scenes(photos, self.draw)
        self.degradation = recipe.degradation
        self.overlays = draw_overlays(128, recipe.stages[-1][0], recipe.seed).to(photos.device)
        self.places = photos.where(part=0)
        self.weight_N = _sampling_weights(photos, self.places, recipe, without)
        self.validation = photos.where(part=1)
        self.num_photos = 0
        self.best: tuple[float, dict[str, Tensor]] | None = None
        self.history: list[dict[str, object]] = []
        is_malignant = torch.tensor([code in MALIGNANT for code in DIAGNOSES] + [False])
        self._malignant_K = is_malignant.long().to(photos.device)
        self._possible_SK = torch.tensor(
            [[code in SOURCE_DIAGNOSES.get(source, DIAGNOSES) for code in DIAGNOSES] for source in SOURCES]
        ).to(photos.device)

    def train(self, budget: Budget) -> nn.Module:
        """Train for the budget; return a network with the selected mean weights, in evaluation mode."""
        recipe = self.recipe
        trainer = Trainer(
            self.net,
            learning_rate=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            ema_decay=recipe.ema_decay,
            fresh=("risk_head", "diagnosis_head", "scope_head"),
        )
        mean_net = copy.deepcopy(self.net).eval()
        done = 0.0
        for number, (side_px, share) in enumerate(recipe.stages):

            def evaluate(side_px: int = side_px) -> None:
                trainer.mean.load_into(mean_net)
                self._evaluate(mean_net, side_px, trainer.steps)

            def loss_of(progress: float, side_px: int = side_px) -> Tensor:
                if progress >= recipe.ease_from:
                    self.degradation = recipe.degradation.eased()
                return self._loss(side_px)

            is_last = number == len(recipe.stages) - 1
            end = 1.0 if is_last else done + share
            loss = trainer.run(
                Budget(seconds=budget.seconds * share, max_steps=max(1, round(budget.max_steps * share))),
                loss_of,
                start=done,
                end=end,
                evaluate=evaluate,
                evaluate_at=tuple(at for at in recipe.evaluate_at if done < at <= end),
            )
            done = end
            self.log(
                {"side_px": side_px, "steps": trainer.steps, "photos": self.num_photos, "loss": float(loss)}
            )
        trainer.mean.load_into(mean_net)
        self._evaluate(mean_net, recipe.stages[-1][0], trainer.steps)
        if recipe.select and self.best is not None:
            mean_net.load_state_dict(self.best[1])
        return mean_net.eval()

    def batch(self, side_px: int) -> tuple[Tensor, Tensor]:
        """Draw, crop and degrade photos; return pixels, 0 to 1, and the photos' indices in the set.

        The last images of the batch show no lesion and have no index.
        """
        recipe, photos, draw = self.recipe, self.photos, self.draw
        without = round(recipe.out_of_scope * recipe.batch_size)
        count = recipe.batch_size - without
        place_B = self.places[draw.weighted(self.weight_N, count)]
        image_BCHW, depth_BHW = read_window(photos, place_B, self._window(place_B), side_px)
        background = recoloured(skin_background(photos, draw, count, side_px), photos.border_NC[place_B])
        feather = draw.log_uniform(2, 40, count, 1, 1)
        alpha = (depth_BHW / feather).clamp(0, 1).maximum(draw.chance(0.4, count, 1, 1).float())[:, None]
        images = [background + alpha * (image_BCHW - background)]
        if without:
            images.append(self.scenes.skin(without - without // 2, side_px, portraits=0.25))
            images.append(self.scenes.without_skin(without // 2, side_px))
        self.num_photos += count
        return degrade(torch.cat(images), self.degradation, draw, self.overlays), place_B

    def _window(self, place_B: Tensor) -> Window:
        """Sample for each photo a window around the lesion, or a frame.

        A frame may be wider than the photo.
        """
        recipe, draw, count = self.recipe, self.draw, len(place_B)
        size_B2, box_B4 = self.photos.size_N2[place_B], self.box_N4[place_B]
        short_B = size_B2.amin(1)
        is_crop_B = draw.chance(recipe.crop_share, count) & (box_B4[:, 2] > 0)
        crop_half_B = (box_B4[:, 2:].amax(1) * draw.uniform(*recipe.crop_margins, count) / 2).maximum(
            0.06 * short_B
        )
        frame_half_B = short_B / 2 * draw.log_uniform(*recipe.frame_scales, count)
        half_B = torch.where(is_crop_B, crop_half_B, frame_half_B)[:, None]
        centre_B2 = torch.where(is_crop_B[:, None], box_B4[:, :2], central_square(size_B2).centre_B2)
        reach_B1 = torch.where(is_crop_B, draw.uniform(0, 0.2, count), draw.uniform(0, 0.35, count))[:, None]
        centre_B2 = centre_B2 + half_B * reach_B1 * draw.uniform(-1, 1, count, 2)
        stretch_B = torch.where(
            draw.chance(0.2, count), draw.log_uniform(0.75, 1.33, count), draw.log_uniform(0.92, 1.09, count)
        )
        stretch_B2 = torch.stack([stretch_B.sqrt(), 1 / stretch_B.sqrt()], dim=1)
        return Window.turned(centre_B2, half_B * stretch_B2, draw)

    def _loss(self, side_px: int) -> Tensor:
        recipe = self.recipe
        with torch.no_grad(), torch.autocast(self.photos.device.type, enabled=False):
            image_BCHW, place_B = self.batch(max(side_px, recipe.teacher_px))
            own_BCHW = image_BCHW
            if own_BCHW.shape[-1] != side_px:
                own_BCHW = F.interpolate(image_BCHW, size=(side_px, side_px), mode="bilinear", antialias=True)
        logits = self.net(normalized(own_BCHW))
        count = len(place_B)
        risk_BR, diagnosis_BK = logits.risk_BR[:count].float(), logits.diagnosis_BK[:count].float()
        label_B = self.photos.label_N[place_B]
        loss = self._label_loss(
            risk_BR, diagnosis_BK, label_B, self._possible_SK[self.photos.source_N[place_B]]
        )
        if self.teacher is not None:
            with torch.no_grad():
                taught = self.teacher(normalized(image_BCHW[:count]))
            soft = _divergence(risk_BR, taught.risk_BR.float(), recipe.temperature)
            soft = soft + _divergence(diagnosis_BK, taught.diagnosis_BK.float(), recipe.temperature)
            loss = (1 - recipe.distill) * loss + recipe.distill * soft
        if logits.scope_B is None or not recipe.scope_weight:
            return loss
        in_scope_B = (torch.arange(len(logits.scope_B), device=loss.device) < count).float()
        scope = F.binary_cross_entropy_with_logits(logits.scope_B.float(), in_scope_B)
        return loss + recipe.scope_weight * scope

    def _label_loss(
        self, risk_BR: Tensor, diagnosis_BK: Tensor, label_B: Tensor, possible_BK: Tensor
    ) -> Tensor:
        recipe = self.recipe
        risk = F.cross_entropy(risk_BR, self._malignant_K[label_B], label_smoothing=recipe.label_smoothing)
        known_B = (label_B != BENIGN_WITHOUT_DIAGNOSIS).float()
        column_B = label_B.clamp_max(len(DIAGNOSES) - 1)
        among_all_B = _cross_entropy(
            diagnosis_BK, column_B, torch.ones_like(possible_BK), recipe.label_smoothing
        )
        among_own_B = _cross_entropy(diagnosis_BK, column_B, possible_BK, recipe.label_smoothing)
        diagnosis_B = (1 - recipe.own_diagnoses) * among_all_B + recipe.own_diagnoses * among_own_B
        return risk + (diagnosis_B * known_B).sum() / known_B.sum().clamp_min(1)

    def _evaluate(self, net: nn.Module, side_px: int, steps: int) -> None:
        """Log validation metrics of frames and crops; keep the weights with the best score."""
        label_N = self.photos.label_N[self.validation].cpu().numpy()
        source_N = self.photos.source_N[self.validation].cpu().numpy()
        scores, logged = [], {}
        for view, box_N4 in (("frame", None), ("crop", self.found_box_N4)):
            logits = predictions(net, self.photos, self.validation, side_px=side_px, box_N4=box_N4)
            summary = lesion_summary(logits, label_N, source_N)
            logged[view] = summary
            for source, weight in (("ham10000", 0.4), ("pad_ufes_20", 0.35), ("isic_msk", 0.25)):
                found = summary.get(source, {})
                scores.append(
                    weight * (found.get("malignant_auroc", 0) + found.get("balanced_accuracy", 0)) / 2
                )
        score = sum(scores) / 2
        record: dict[str, object] = {
            "evaluated_at_px": side_px,
            "steps": steps,
            "photos": self.num_photos,
            "score": score,
        }
        self.log(record | logged)
        self.history.append(record | logged)
        if self.best is None or score > self.best[0]:
            self.best = score, {name: value.clone() for name, value in net.state_dict().items()}


def _sampling_weights(
    photos: PhotoSet, place_N: Tensor, recipe: LesionRecipe, without: frozenset[str]
) -> Tensor:
    """Return the sampling probability of each training photo: sources by share, rare classes more often."""
    weight_N = torch.zeros(len(place_N), device=photos.device)
    source_N, label_N = photos.source_N[place_N], photos.label_N[place_N]
    for source, share in recipe.source_shares.items():
        if source in without:
            continue
        own_N = source_N == SOURCES.index(source)
        counts = {
            label: int((own_N & (label_N == label)).sum()) for label in label_N[own_N].unique().tolist()
        }
        total = sum(count ** (1 - recipe.class_balance) for count in counts.values())
        for label, count in counts.items():
            weight_N[own_N & (label_N == label)] = share * count**-recipe.class_balance / total
    return weight_N


def _cross_entropy(logits_BK: Tensor, column_B: Tensor, possible_BK: Tensor, smoothing: float) -> Tensor:
    """Return the cross-entropy of each photo among the possible columns."""
    log_BK = logits_BK.masked_fill(~possible_BK.bool(), -1e4).log_softmax(dim=1)
    mean_B = (log_BK * possible_BK).sum(1) / possible_BK.sum(1)
    own_B = log_BK.gather(1, column_B[:, None])[:, 0]
    return -(1 - smoothing) * own_B - smoothing * mean_B


def _divergence(logits_BK: Tensor, teacher_BK: Tensor, temperature: float) -> Tensor:
    """Return the Kullback-Leibler divergence from the teacher's outputs, as in arXiv:1503.02531."""
    return temperature**2 * F.kl_div(
        (logits_BK / temperature).log_softmax(dim=1),
        (teacher_BK / temperature).log_softmax(dim=1),
        reduction="batchmean",
        log_target=True,
    )
