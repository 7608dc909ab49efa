"""Measure calibration ranges of the lesion network's activations, and the cost of int8 quantization.

Axes: B photo, K diagnosis.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from models.lesion.engine import LesionOutput
from models.lesion.metrics import Int8Metrics
from models.lesion.network import LesionNet
from models.lesion.networks import SingleLesionNet
from models.lesion.quantization.int8 import STEM, Range, bottlenecks
from models.lesion.small_shapes import STEM as SMALL_STEM
from models.lesion.small_shapes import TOP, inverted_residuals
from train.bootstrap import DECIMALS, Resamples, Statistic
from train.lesion.calibration import LabelledLogits
from train.lesion.dataset import LesionPhotos, normalized
from train.lesion.verdict_thresholds import lower_bound
from train.metrics import balanced_accuracy, macro_auroc

NUM_PHOTOS = 1024
"""Photos of the training set, sampled at random, that the ranges are measured on."""
BATCH_SIZE = 16
NUM_BINS = 2048
MAX_CHANGED_VERDICTS = 0.02
"""Largest share of the photos with another verdict in int8. A source must not be significantly above it."""
MAX_AUROC_LOSS = 0.003
MAX_CHANGED_SHARE = 0.03
"""Of the first diagnoses."""


def measure_ranges(net: SingleLesionNet, photos: LesionPhotos) -> dict[str, Range]:
    """Return the calibration range of every quantized activation, by its name.

    Each range has the least squared quantization error: a narrower one clips rare values and has a finer
    scale. Compared with the range from minimum to maximum it halves the error of the probabilities.

    Args:
        photos: of the training set; ``NUM_PHOTOS`` are enough.
    """
    extremes: dict[str, Range] = {}

    def observe_extremes(name: str, value: Tensor) -> None:
        low, high = (float(extreme) for extreme in value.aminmax())
        before = extremes.get(name, (0.0, 0.0))
        extremes[name] = (min(before[0], low), max(before[1], high))

    histograms: dict[str, Tensor] = {}

    def observe_histogram(name: str, value: Tensor) -> None:
        low, high = extremes[name]
        count = torch.histc(value, NUM_BINS, low, high) if high > low else torch.zeros(NUM_BINS)
        histograms[name] = histograms.get(name, 0) + count.double().cpu()

    for observer in (observe_extremes, observe_histogram):
        with _observed_activations(net, observer):
            for start in range(0, len(photos), BATCH_SIZE):
                _compute_features(net, photos, list(range(start, min(start + BATCH_SIZE, len(photos)))))
    return {name: least_error_range(histograms[name].numpy(), *extremes[name]) for name in extremes}


def least_error_range(count: np.ndarray, low: float, high: float) -> Range:
    """Return the range within ``low`` to ``high`` with the least squared error in 256 levels.

    Args:
        count: histogram of the values in equal bins between ``low``, at most 0, and ``high``, at least 0.
    """
    if not high > low or not count.sum():
        return low, max(high, low + 1e-6)
    edges = np.linspace(low, high, len(count) + 1)
    middle = (edges[1:] + edges[:-1]) / 2
    share = count / count.sum()
    fractions = np.linspace(0.1, 1, 46)
    best, chosen = np.inf, (low, high)
    for bottom in low * (fractions if low < 0 else fractions[-1:]):
        for top in high * fractions:
            clipped = np.maximum(middle - top, 0) + np.maximum(bottom - middle, 0)
            scale = (top - bottom) / 255
            error = (share * np.where(clipped > 0, clipped**2, scale**2 / 12)).sum()
            if error < best:
                best, chosen = error, (float(bottom), float(top))
    return chosen


def int8_metrics(
    engine: str,
    int8: LesionOutput,
    float32: LesionOutput,
    logits: LabelledLogits,
    ranking_weight_K: Sequence[float] | None = None,
) -> Int8Metrics:
    """Compare the outputs of an int8 engine with those of float32 on labelled photos.

    Args:
        ranking_weight_K: of the checkpoint; None: equal weights.

    Returns:
        Differences, int8 minus float32, and whether they are small enough. The interval of the balanced
        accuracy's difference is of paired resamples.
    """
    weight_K = np.array(ranking_weight_K or 1.0)
    first_B, first_float32_B = ((output.diagnosis_BK * weight_K).argmax(1) for output in (int8, float32))
    known_B, num_classes = logits.diagnosed, int8.diagnosis_BK.shape[1]
    known = logits[known_B]
    truth_B = known.truth_B
    auroc = _difference(
        macro_auroc(truth_B, int8.diagnosis_BK[known_B]), macro_auroc(truth_B, float32.diagnosis_BK[known_B])
    )
    accuracy = _difference(
        balanced_accuracy(truth_B, first_B[known_B], num_classes),
        balanced_accuracy(truth_B, first_float32_B[known_B], num_classes),
    )
    auroc_gain = float(auroc(np.ones((1, len(truth_B))))[0])
    changed_share = float((first_B != first_float32_B).mean())
    difference = max(
        np.abs(int8.diagnosis_BK - float32.diagnosis_BK).max(),
        np.abs(int8.malignant_B - float32.malignant_B).max(),
    )
    return Int8Metrics(
        engine=engine,
        n=len(first_B),
        macro_auroc_difference=round(auroc_gain, DECIMALS) if np.isfinite(auroc_gain) else None,
        changed_share=round(changed_share, DECIMALS),
        balanced_accuracy_difference=Resamples(known.group_B, truth_B).metric(accuracy),
        largest_difference=round(float(difference), DECIMALS),
        # photos of one class have no AUROC; an output that is NaN does not pass
        passed=bool(
            np.isfinite(difference)
            and changed_share <= MAX_CHANGED_SHARE
            and (not np.isfinite(auroc_gain) or auroc_gain >= -MAX_AUROC_LOSS)
        ),
    )


def changed_verdicts(
    output: LesionOutput, float32: LesionOutput, thresholds: Mapping[str, float], source_B: Sequence[str]
) -> tuple[dict[str, float], bool]:
    """Return by source the share of photos with another verdict, and whether the shares are small enough."""
    limits = sorted({thresholds.get("benign", 1.0), thresholds["malignant"]})
    changed_B = np.digitize(output.malignant_B, limits) != np.digitize(float32.malignant_B, limits)
    sources = np.array(source_B)
    parts = {name: changed_B[sources == name] for name in dict.fromkeys(source_B)} | {"all": changed_B}
    significant = [
        lower_bound(int(own_B.sum()), len(own_B)) > MAX_CHANGED_VERDICTS for own_B in parts.values()
    ]
    shares = {name: round(float(own_B.mean()), 4) for name, own_B in parts.items()}
    return shares, shares["all"] <= MAX_CHANGED_VERDICTS and not any(significant)


def _difference(one: Statistic, other: Statistic) -> Statistic:
    return lambda count_RB: one(count_RB) - other(count_RB)


@torch.inference_mode()
def _compute_features(net: SingleLesionNet, photos: LesionPhotos, indices: list[int]) -> None:
    device = next(net.parameters()).device
    net.eval().features(normalized(photos.__getitems__(indices)["image"].to(device)))


@contextmanager
def _observed_activations(net: SingleLesionNet, observe: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Call ``observe`` with every quantized activation that the network computes in this context."""
    with ExitStack() as stack:

        def observe_input(part: nn.Module, name: str) -> None:
            handle = part.register_forward_pre_hook(lambda _part, inputs: observe(name, inputs[0]))
            stack.callback(handle.remove)

        def observe_output(part: nn.Module, name: str) -> None:
            def hook(_part: nn.Module, _inputs: object, output: Tensor) -> None:
                observe(name, output)

            stack.callback(part.register_forward_hook(hook).remove)

        if not isinstance(net, LesionNet):
            observe_output(net.backbone.get_submodule("stem"), SMALL_STEM.activation)
            for block in inverted_residuals():
                part = net.backbone.get_submodule(block.name)
                for spec in block.convolutions:
                    if spec.relu6:  # the norm and the ReLU6 follow the convolution
                        prefix, number = spec.norm.rsplit(".", 1)
                        observe_output(
                            net.backbone.get_submodule(f"{prefix}.{int(number) + 1}"), spec.activation
                        )
                observe_output(part, block.convolutions[-1].activation)
            observe_output(net.backbone.get_submodule("top"), TOP.activation)
            yield
            return
        backbone = net.backbone
        observe_input(backbone.maxpool, STEM)
        for block in bottlenecks(net.input_px):
            part = backbone.get_submodule(block.name)
            observe_input(part.get_submodule("conv2"), f"{block.name}.conv1")
            observe_input(part.get_submodule("conv3"), f"{block.name}.conv2")
            observe_output(part.get_submodule("bn3"), f"{block.name}.conv3")
            if block.has_shortcut:
                observe_output(part.get_submodule("downsample"), f"{block.name}.shortcut")
            observe_output(part, block.name)
        yield
