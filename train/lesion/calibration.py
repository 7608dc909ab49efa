"""Probabilities that mean what they say: a temperature for each head, and a shift for the risk.

Fitted on validation by log loss and folded into the last linear layers, so that serving knows nothing of it.
Its figures come from halves: each half of the photos is judged by what was fitted on the other.

Axes: B photo, K diagnosis, R risk group (benign, malignant), H halving.

Source: Guo et al. 2017, arXiv:1706.04599; Platt 1999.
"""

import copy
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.diagnoses import GROUPS
from models.lesion.network import LesionEnsemble, LesionNet
from train.report import bootstrap
from train.report.bootstrap import Figure, Resamples, groups_and_strata

NUM_HALVINGS = 10
"""Of one halving alone the calibration error depends on how the photos fell."""
NUM_FOLDS = 5
"""In which the threshold for a sensitivity is tried."""
MAX_TEMPERATURE = 10.0
"""Also the inverse of the smallest; a network that answers at random would want an endless one."""
MALIGNANT = GROUPS.index("malignant")

_Net = TypeVar("_Net", bound=LesionNet | LesionEnsemble)


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What is done to the logits: divided by a temperature, and the malignant one shifted after that."""

    diagnosis_temperature: float = 1.0
    risk_temperature: float = 1.0
    risk_shift: float = 0.0

    def malignant_probability(self, risk_BR: np.ndarray) -> np.ndarray:
        """Return the calibrated probability of malignancy, (B,), of the risk head's logits."""
        margin_B = (risk_BR[:, MALIGNANT] - risk_BR[:, 1 - MALIGNANT]) / self.risk_temperature
        return 1 / (1 + np.exp(-(margin_B + self.risk_shift)))

    def diagnosis_probability(self, diagnosis_BK: np.ndarray) -> np.ndarray:
        """Return the calibrated probabilities, (B, K), of the diagnosis head's logits."""
        return torch.from_numpy(diagnosis_BK / self.diagnosis_temperature).softmax(1).numpy()


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Logits of photos and what the photos show."""

    risk_BR: np.ndarray
    diagnosis_BK: np.ndarray
    malignant_B: np.ndarray
    """0 or 1."""
    truth_B: np.ndarray
    """Column of the diagnosis."""
    group_B: Sequence[Hashable] | None = None
    """Patient or lesion; photos of one are never on both sides of a halving."""

    def __post_init__(self) -> None:
        for name in ("risk_BR", "diagnosis_BK"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), np.float64))

    def __getitem__(self, index: np.ndarray) -> "Judged":
        group_B = None if self.group_B is None else [self.group_B[i] for i in index.tolist()]
        return Judged(
            risk_BR=self.risk_BR[index],
            diagnosis_BK=self.diagnosis_BK[index],
            malignant_B=self.malignant_B[index],
            truth_B=self.truth_B[index],
            group_B=group_B,
        )


def fit_calibration(judged: Judged) -> Calibration:
    """Return the calibration of both heads with the lowest log loss."""
    temperature, shift = fit_platt(judged.risk_BR, judged.malignant_B)
    return Calibration(
        diagnosis_temperature=fit_temperature(judged.diagnosis_BK, judged.truth_B),
        risk_temperature=temperature,
        risk_shift=shift,
    )


def fit_temperature(logits_BK: np.ndarray, target_B: np.ndarray) -> float:
    """Return the temperature by which to divide logits, the one with the lowest log loss."""
    logits = torch.from_numpy(np.asarray(logits_BK, np.float64))
    target = torch.from_numpy(np.asarray(target_B, np.int64))
    inverse, _ = _fit(lambda slope, _: F.cross_entropy(slope * logits, target))
    return 1 / inverse


def fit_platt(risk_BR: np.ndarray, malignant_B: np.ndarray) -> tuple[float, float]:
    """Return the temperature of the risk head's logits and the shift of the malignant one after it.

    The targets stand off 0 and 1 by as much as their number allows, after Platt, so that a few photos which
    are all told apart do not ask for certainty.
    """
    margin = torch.from_numpy(np.asarray(risk_BR[:, MALIGNANT] - risk_BR[:, 1 - MALIGNANT], np.float64))
    num_malignant = int(malignant_B.sum())
    num_benign = len(malignant_B) - num_malignant
    high, low = (num_malignant + 1) / (num_malignant + 2), 1 / (num_benign + 2)
    target = torch.from_numpy(np.where(malignant_B == 1, high, low))
    inverse, shift = _fit(
        lambda slope, shift: F.binary_cross_entropy_with_logits(slope * margin + shift, target)
    )
    return 1 / inverse, shift


def fold_in(net: _Net, calibration: Calibration) -> _Net:
    """Return a copy of a network whose logits are calibrated ones."""
    net = copy.deepcopy(net)
    members: list[LesionNet] = net.nets if isinstance(net, LesionEnsemble) else [net]
    for member in members:
        risk, diagnosis = member.risk_head[-1], member.diagnosis_head[-1]
        assert isinstance(risk, nn.Linear) and isinstance(diagnosis, nn.Linear)
        with torch.no_grad():
            for parameter in risk.parameters():
                parameter /= calibration.risk_temperature
            for parameter in diagnosis.parameters():
                parameter /= calibration.diagnosis_temperature
            risk.bias[MALIGNANT] += calibration.risk_shift
    return net


def calibration_metrics(judged: Judged, calibration: Calibration) -> dict[str, Any]:
    """Return the calibration, and the calibration errors of both heads before it and after.

    "before" is as the network answers; "after" is the mean over ten halvings of the photos, by group, each
    half under the calibration fitted on the other half, with a 95% interval.
    """
    risk_HB, diagnosis_HBK = _cross_fitted(judged)
    as_it_is = Calibration()
    errors = {
        "risk": (
            judged.malignant_B,
            _risk_error(as_it_is.malignant_probability(judged.risk_BR), judged),
            [_risk_error(probability_B, judged) for probability_B in risk_HB],
        ),
        "diagnosis": (
            judged.truth_B,
            _diagnosis_error(as_it_is.diagnosis_probability(judged.diagnosis_BK), judged),
            [_diagnosis_error(probability_BK, judged) for probability_BK in diagnosis_HBK],
        ),
    }
    figures: dict[str, Any] = {name: round(value, 4) for name, value in asdict(calibration).items()}
    for name, (class_B, before, after) in errors.items():
        resamples = Resamples(judged.group_B, class_B)
        figures[f"{name}_ece_before"] = resamples.interval(before)
        figures[f"{name}_ece_after"] = resamples.interval(_mean_of(after))
    return figures


def threshold_for(
    min_sensitivity: float,
    malignant_probability_B: np.ndarray,
    malignant_B: np.ndarray,
    group_B: Sequence[Hashable] | None = None,
) -> float:
    """Return the largest threshold that reaches a sensitivity on photos which did not choose it.

    For each number of malignant photos that a threshold may miss, the threshold is chosen on four fifths of
    the groups and tried on the last fifth, five times over. The largest number for which the sensitivity
    over all fifths is still enough decides; then the threshold is chosen on all photos.
    """
    num_malignant = int(malignant_B.sum())
    if not num_malignant:
        raise ValueError("a threshold for a sensitivity needs malignant photos, there are none")
    fold_B = parts_of(group_B, malignant_B, NUM_FOLDS, seed=0)
    for num_missed in range(int((1 - min_sensitivity) * num_malignant + 1e-9), -1, -1):
        wanted = 1 - num_missed / num_malignant
        num_caught = 0
        for fold in range(NUM_FOLDS):
            others, held_out = fold_B != fold, (fold_B == fold) & (malignant_B == 1)
            threshold = _largest(malignant_probability_B[others], malignant_B[others], wanted)
            num_caught += int((malignant_probability_B[held_out] >= threshold).sum())
        if num_caught >= min_sensitivity * num_malignant - 1e-9:
            break
    else:
        wanted = 1.0
    # rounded down: the photo that set it must still be caught
    return float(np.floor(_largest(malignant_probability_B, malignant_B, wanted) * 1e4) / 1e4)


def parts_of(
    group_B: Sequence[Hashable] | None, class_B: np.ndarray, num_parts: int, *, seed: int
) -> np.ndarray:
    """Return the part of each example: whole groups, dealt out in turn, class after class."""
    group_of_B, stratum_of_G = groups_and_strata(group_B, class_B)
    order = np.lexsort((np.random.default_rng(seed).random(len(stratum_of_G)), stratum_of_G))
    part_of_G = np.empty(len(order), np.int64)
    part_of_G[order] = np.arange(len(order)) % num_parts
    return part_of_G[group_of_B]


def _cross_fitted(judged: Judged) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of both heads, (H, B) and (H, B, K), each by a calibration fitted without the photo."""
    risk_HB = np.zeros((NUM_HALVINGS, len(judged.truth_B)))
    diagnosis_HBK = np.zeros((NUM_HALVINGS, *judged.diagnosis_BK.shape))
    for halving in range(NUM_HALVINGS):
        half_B = parts_of(judged.group_B, judged.truth_B, 2, seed=halving)
        for half in (0, 1):
            fitted, tried = np.flatnonzero(half_B != half), np.flatnonzero(half_B == half)
            calibration = fit_calibration(judged[fitted]) if len(fitted) else Calibration()
            risk_HB[halving, tried] = calibration.malignant_probability(judged.risk_BR[tried])
            diagnosis_HBK[halving, tried] = calibration.diagnosis_probability(judged.diagnosis_BK[tried])
    return risk_HB, diagnosis_HBK


def _risk_error(probability_B: np.ndarray, judged: Judged) -> Figure:
    return bootstrap.calibration_error(probability_B, judged.malignant_B)


def _diagnosis_error(probability_BK: np.ndarray, judged: Judged) -> Figure:
    return bootstrap.calibration_error(probability_BK.max(1), probability_BK.argmax(1) == judged.truth_B)


def _mean_of(figures: Sequence[Figure]) -> Figure:
    return lambda count_RB: np.mean([figure(count_RB) for figure in figures], axis=0)


def _largest(probability_B: np.ndarray, malignant_B: np.ndarray, sensitivity: float) -> float:
    """The largest threshold with that sensitivity on these photos; 1 if none of them is malignant."""
    rising = np.sort(probability_B[malignant_B == 1])
    return float(rising[int((1 - sensitivity) * len(rising) + 1e-9)]) if len(rising) else 1.0


def _fit(loss_of: Callable[[Tensor, Tensor], Tensor]) -> tuple[float, float]:
    """Return the slope, which stays positive, and the shift that make a loss smallest."""
    log_slope = torch.zeros((), dtype=torch.float64, requires_grad=True)
    shift = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_slope, shift], max_iter=100, line_search_fn="strong_wolfe")
    bound = float(np.log(MAX_TEMPERATURE))

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = loss_of(log_slope.clamp(-bound, bound).exp(), shift)
        loss.backward()
        return loss

    optimizer.step(closure)
    return float(log_slope.detach().clamp(-bound, bound).exp()), float(shift.detach())
