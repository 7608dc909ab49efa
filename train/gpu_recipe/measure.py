"""Compute validation metrics of lesion networks and localizers, for each photo and source.

Axes: N photo, K diagnosis, B photo of a batch, C colour, H row, W column.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from models.lesion.localizer import CROP_MARGIN, MIN_CROP_SHARE, find_main_lesion
from models.normalization import MEAN, STD
from train.gpu_recipe.geometry import Window, central_square, read_mask, read_window, whole_frame
from train.gpu_recipe.photos import SOURCES, PhotoSet

DIAGNOSES = ("nv", "bkl", "df", "vasc", "mel", "bcc", "akiec", "scc")
"""Codes in the order of the network's columns (``models.diagnoses``)."""
MALIGNANT = frozenset({"mel", "bcc", "akiec", "scc"})
SOURCE_DIAGNOSES = {
    "ham10000": ("nv", "bkl", "df", "vasc", "mel", "bcc", "akiec"),
    "isic2018_val": ("nv", "bkl", "df", "vasc", "mel", "bcc", "akiec"),
    "pad_ufes_20": ("nv", "bkl", "mel", "bcc", "akiec", "scc"),
    "isic_msk": ("nv", "bkl", "mel"),
    "isic2020": ("nv", "bkl", "mel"),
}
"""Possible diagnoses of a source."""
Transform = Callable[[Tensor], Tensor]


def normalized(image_BCHW: Tensor) -> Tensor:
    """Normalise float pixels, 0 to 1, by ImageNet's mean and standard deviation, channels last in memory."""
    mean_C11, std_C11 = _mean_and_std(image_BCHW.device)
    return ((image_BCHW - mean_C11) / std_C11).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def lesion_maps(
    localizer: nn.Module, photos: PhotoSet, place_N: Tensor, *, side_px: int, batch: int = 256
) -> tuple[np.ndarray, np.ndarray]:
    """Return probability maps of whole frames, float32 (N, H, W), and gate probabilities, (N, G)."""
    maps, gates = [], []
    for place_B in place_N.split(batch):
        image_BCHW, _ = read_window(photos, place_B, whole_frame(photos.size_N2[place_B]), side_px)
        with _inference(photos.device):
            lesion_BHW, gate_BG = localizer(normalized(image_BCHW))
        maps.append(lesion_BHW.float().sigmoid().cpu().numpy())
        gates.append(gate_BG.float().sigmoid().cpu().numpy())
    return np.concatenate(maps), np.concatenate(gates)


def boxes_of_maps(map_NHW: np.ndarray, size_N2: np.ndarray) -> np.ndarray:
    """Return centre row and column, height and width of each lesion in pixels; zeros if none."""
    box_N4 = np.zeros((len(map_NHW), 4), np.float32)
    for place, (probability_HW, size) in enumerate(zip(map_NHW, size_N2, strict=True)):
        found = find_main_lesion(probability_HW)
        if found is not None:
            left, top, right, bottom = found.box
            box_N4[place] = (
                (top + bottom) / 2 * size[0],
                (left + right) / 2 * size[1],
                (bottom - top) * size[0],
                (right - left) * size[1],
            )
    return box_N4


def crop_window(box_B4: Tensor, size_B2: Tensor, margin: float = CROP_MARGIN) -> Window:
    """Return the square around each box, or the central square without a box.

    The square is inside the photo if it fits.
    """
    short_B = size_B2.amin(1)
    half_B = (margin * box_B4[:, 2:].amax(1) / 2).clamp_min(MIN_CROP_SHARE / 2 * short_B).minimum(short_B / 2)
    centre_B2 = box_B4[:, :2].maximum(half_B[:, None]).minimum(size_B2 - half_B[:, None])
    central = central_square(size_B2)
    found_B1 = box_B4[:, 2:3] > 0
    return Window.upright(
        torch.where(found_B1, centre_B2, central.centre_B2),
        torch.where(found_B1, half_B[:, None].expand(-1, 2), central.half_B2),
    )


@torch.no_grad()
def predictions(
    net: nn.Module,
    photos: PhotoSet,
    place_N: Tensor,
    *,
    side_px: int,
    box_N4: Tensor | None = None,
    change: Transform | None = None,
    batch: int = 256,
) -> np.ndarray:
    """Return malignant and diagnosis logits of central squares or crops, float32 (N, 2 + K).

    Args:
        box_N4: boxes of all photos of the set; the networks then read crops around them.
        change: transform of the pixels before the network reads them.
    """
    rows = []
    for place_B in place_N.split(batch):
        size_B2 = photos.size_N2[place_B]
        window = central_square(size_B2) if box_N4 is None else crop_window(box_N4[place_B], size_B2)
        image_BCHW, _ = read_window(photos, place_B, window, side_px)
        if change is not None:
            image_BCHW = change(image_BCHW)
        with _inference(photos.device):
            logits = net(normalized(image_BCHW))
        rows.append(torch.cat([logits.risk_BR, logits.diagnosis_BK], dim=1).float().cpu().numpy())
    return np.concatenate(rows)


def lesion_summary(
    logits_NK: np.ndarray, label_N: np.ndarray, source_N: np.ndarray
) -> dict[str, dict[str, float]]:
    """Return the metrics of each source with at least 20 photos.

    Args:
        logits_NK: of ``predictions``.
        label_N: indices into ``LESION_CODES``, which lists the diagnoses in the order of the columns.
    """
    malignant_K = np.array([code in MALIGNANT for code in (*DIAGNOSES, "benign")])
    summary: dict[str, dict[str, float]] = {}
    for number, source in enumerate(SOURCES):
        own_N = source_N == number
        if own_N.sum() < 20:
            continue
        logits, label = logits_NK[own_N], label_N[own_N]
        margin = logits[:, 1] - logits[:, 0]
        truth = malignant_K[label]
        metrics = {"n": float(len(label))}
        if 0 < truth.sum() < len(truth):
            metrics["malignant_auroc"] = float(roc_auc_score(truth, margin))
            metrics["sensitivity"] = float((margin[truth] > 0).mean())
            metrics["specificity"] = float((margin[~truth] <= 0).mean())
        columns = [DIAGNOSES.index(code) for code in SOURCE_DIAGNOSES[source]]
        diagnosed = np.isin(label, columns)
        all_columns, own = logits[diagnosed, 2:], label[diagnosed]
        for name, guess in (
            ("balanced_accuracy", np.array(columns)[all_columns[:, columns].argmax(1)]),
            ("balanced_accuracy_open", all_columns.argmax(1)),
        ):
            recalls = [
                float((guess[own == column] == column).mean()) for column in columns if (own == column).any()
            ]
            metrics[name] = float(np.mean(recalls))
        probability = np.exp(all_columns - all_columns.max(1, keepdims=True))
        probability /= probability.sum(1, keepdims=True)
        aurocs = [
            roc_auc_score(own == column, probability[:, column])
            for column in columns
            if 0 < (own == column).sum() < len(own)
        ]
        metrics["macro_auroc"] = float(np.mean(aurocs)) if aurocs else float("nan")
        summary[source] = metrics
    return summary


def mask_iou(photos: PhotoSet, place_N: Tensor, map_NHW: np.ndarray) -> float:
    """Return the mean IoU of maps, thresholded at 0.5, with the masks of whole frames."""
    values = []
    for place_B, map_BHW in _batches(place_N, map_NHW):
        truth = read_mask(photos, place_B, whole_frame(photos.size_N2[place_B]), map_BHW.shape[-1]) > 0.5
        found = torch.from_numpy(map_BHW).to(truth.device) > 0.5
        both, either = (truth & found).sum((1, 2)), (truth | found).sum((1, 2))
        values.append((both / either.clamp_min(1)).cpu())
    return float(torch.cat(values).mean())


def _batches(place_N: Tensor, map_NHW: np.ndarray, size: int = 256) -> Iterator[tuple[Tensor, np.ndarray]]:
    for first in range(0, len(place_N), size):
        yield place_N[first : first + size], map_NHW[first : first + size]


@cache
def _mean_and_std(device: torch.device) -> tuple[Tensor, Tensor]:
    """Copy mean and standard deviation to a device once; a copy waits for all work before it."""
    return (
        torch.tensor(MEAN, device=device)[:, None, None],
        torch.tensor(STD, device=device)[:, None, None],
    )


@contextmanager
def _inference(device: torch.device) -> Iterator[None]:
    """Compute in bfloat16 on a GPU, without cuDNN's kernel search for batches of odd sizes."""
    searched = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = False
    try:
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            yield
    finally:
        torch.backends.cudnn.benchmark = searched
