"""Ranges of the lesion network's activations for 8 bits, and whether 8 bits are good enough to be served.

Axes: B photo, K diagnosis.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.lesion.engines import LesionOutput
from models.lesion.network import LesionNet
from models.lesion.quantization.int8 import STEM, Range, bottlenecks
from train.lesion.calibration import Judged
from train.lesion.dataset import LesionPhotos, normalized
from train.report.bootstrap import Figure, Resamples, balanced_accuracy, macro_auroc

NUM_PHOTOS = 256
"""Of the training part, drawn by chance, that the ranges are measured on."""
BATCH_SIZE = 16
NUM_BINS = 2048
MAX_AUROC_LOSS = 0.003
MAX_CHANGED_SHARE = 0.03
"""Of the first diagnoses."""


def measure_ranges(net: LesionNet, photos: LesionPhotos) -> dict[str, Range]:
    """Return the calibration range of every quantized activation, by the names of ``activation_names``.

    Each is the range of least squared error: a narrower one cuts off what is rare and rounds the rest more
    finely. Against the range from the least to the greatest value it halves the error in probability.

    Args:
        photos: of the training part; ``NUM_PHOTOS`` are enough.
    """
    found: dict[str, Range] = {}

    def widen(name: str, value: Tensor) -> None:
        low, high = (float(one) for one in value.aminmax())
        before = found.get(name, (0.0, 0.0))
        found[name] = (min(before[0], low), max(before[1], high))

    counts: dict[str, Tensor] = {}

    def count(name: str, value: Tensor) -> None:
        low, high = found[name]
        counted = torch.histc(value, NUM_BINS, low, high) if high > low else torch.zeros(NUM_BINS)
        counts[name] = counts.get(name, 0) + counted.double().cpu()

    for see in (widen, count):
        with _watched(net, see):
            for start in range(0, len(photos), BATCH_SIZE):
                _run(net, photos, list(range(start, min(start + BATCH_SIZE, len(photos)))))
    return {name: least_error(counts[name].numpy(), *found[name]) for name in found}


def least_error(count: np.ndarray, low: float, high: float) -> Range:
    """Return the part of ``low`` to ``high`` that 256 values describe with the least squared error.

    Args:
        count: of the values in equal bins between ``low``, at most 0, and ``high``, at least 0.
    """
    if not high > low or not count.sum():
        return low, max(high, low + 1e-6)
    edges = np.linspace(low, high, len(count) + 1)
    middle = (edges[1:] + edges[:-1]) / 2
    share = count / count.sum()
    shares_of_range = np.linspace(0.1, 1, 46)
    best, chosen = np.inf, (low, high)
    for bottom in low * (shares_of_range if low < 0 else shares_of_range[-1:]):
        for top in high * shares_of_range:
            outside = np.maximum(middle - top, 0) + np.maximum(bottom - middle, 0)
            step = (top - bottom) / 255
            error = (share * np.where(outside > 0, outside**2, step**2 / 12)).sum()
            if error < best:
                best, chosen = error, (float(bottom), float(top))
    return chosen


def compare(rounded: LesionOutput, exact: LesionOutput, judged: Judged) -> dict[str, Any]:
    """Return what 8 bits cost on photos whose truth is known, and whether that is little enough.

    Returns:
        n, ``macro_auroc_difference`` and ``balanced_accuracy_difference`` (8 bits less float32; the latter
        with the 95% interval of paired resamples), ``changed_share`` of the first diagnoses,
        ``largest_difference`` in any probability, ``passed``.
    """
    truth_B, num_classes = judged.truth_B, rounded.diagnosis_BK.shape[1]
    first_B, before_B = rounded.diagnosis_BK.argmax(1), exact.diagnosis_BK.argmax(1)
    auroc = _difference(macro_auroc(truth_B, rounded.diagnosis_BK), macro_auroc(truth_B, exact.diagnosis_BK))
    accuracy = _difference(
        balanced_accuracy(truth_B, first_B, num_classes), balanced_accuracy(truth_B, before_B, num_classes)
    )
    gained = float(auroc(np.ones((1, len(truth_B))))[0])
    changed = float((first_B != before_B).mean())
    difference = max(
        np.abs(rounded.diagnosis_BK - exact.diagnosis_BK).max(),
        np.abs(rounded.malignant_B - exact.malignant_B).max(),
    )
    return {
        "n": len(truth_B),
        "macro_auroc_difference": round(gained, 4) if np.isfinite(gained) else None,
        "changed_share": round(changed, 4),
        "balanced_accuracy_difference": Resamples(judged.group_B, truth_B).interval(accuracy),
        "largest_difference": round(float(difference), 4),
        # one class alone has no AUROC to lose; NaN in an answer fails
        "passed": bool(
            np.isfinite(difference)
            and changed <= MAX_CHANGED_SHARE
            and (not np.isfinite(gained) or gained >= -MAX_AUROC_LOSS)
        ),
    }


def _difference(one: Figure, other: Figure) -> Figure:
    return lambda count_RB: one(count_RB) - other(count_RB)


@torch.inference_mode()
def _run(net: LesionNet, photos: LesionPhotos, indices: list[int]) -> None:
    device = next(net.parameters()).device
    net.eval().features(normalized(photos.__getitems__(indices)["image"].to(device)))


@contextmanager
def _watched(net: LesionNet, see: Callable[[str, Tensor], None]) -> Iterator[None]:
    """While this lasts, every activation that 8 bits round is shown to ``see`` as it is computed."""
    backbone = net.backbone
    with ExitStack() as stack:

        def watch_input(part: nn.Module, name: str) -> None:
            handle = part.register_forward_pre_hook(lambda _part, inputs: see(name, inputs[0]))
            stack.callback(handle.remove)

        def watch(part: nn.Module, name: str) -> None:
            def hook(_part: nn.Module, _inputs: object, output: Tensor) -> None:
                see(name, output)

            stack.callback(part.register_forward_hook(hook).remove)

        watch_input(backbone.maxpool, STEM)
        for block in bottlenecks(net.input_px):
            part = backbone.get_submodule(block.name)
            watch_input(part.get_submodule("conv2"), f"{block.name}.conv1")
            watch_input(part.get_submodule("conv3"), f"{block.name}.conv2")
            watch(part.get_submodule("bn3"), f"{block.name}.conv3")
            if block.has_shortcut:
                watch(part.get_submodule("downsample"), f"{block.name}.shortcut")
            watch(part, block.name)
        yield
