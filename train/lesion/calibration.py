"""Calibrate probabilities by a temperature for each head and a shift for the risk head.

The calibration is fitted on the validation set by log loss and folded into the last linear layers, so that
serving needs no code for it. Its metrics are cross-fitted: each half of the photos is evaluated with the
calibration that was fitted on the other half.

Axes: B photo, K diagnosis, R risk group (benign, malignant), S random split into halves.

Source: Guo et al. 2017, arXiv:1706.04599; Platt 1999.
"""

import copy
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.diagnoses import GROUPS
from models.lesion.metrics import CalibrationMetrics
from models.lesion.network import LesionEnsemble
from models.lesion.networks import AnyLesionNet, SingleLesionNet
from train.bootstrap import DECIMALS, Resamples, Statistic, groups_and_strata
from train.metrics import calibration_error

NUM_SPLITS = 10
"""Random splits into halves; with a single one the calibration error depends on chance."""
NUM_FOLDS = 5
"""Folds that validate the threshold for a sensitivity."""
MAX_TEMPERATURE = 10.0
"""Its inverse is the smallest one; for random outputs the fit has no finite optimum."""
MALIGNANT = GROUPS.index("malignant")

_Net = TypeVar("_Net", bound=AnyLesionNet)


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Divide the logits by a temperature, then shift the malignant one."""

    diagnosis_temperature: float = 1.0
    risk_temperature: float = 1.0
    risk_shift: float = 0.0

    def malignant_probability(self, risk_BR: np.ndarray) -> np.ndarray:
        """Return the calibrated probability of malignancy, (B,), for logits of the risk head."""
        margin_B = (risk_BR[:, MALIGNANT] - risk_BR[:, 1 - MALIGNANT]) / self.risk_temperature
        return 1 / (1 + np.exp(-(margin_B + self.risk_shift)))

    def diagnosis_probability(self, diagnosis_BK: np.ndarray) -> np.ndarray:
        """Return the calibrated probabilities, (B, K), for logits of the diagnosis head."""
        return torch.from_numpy(diagnosis_BK / self.diagnosis_temperature).softmax(1).numpy()


@dataclass(frozen=True, kw_only=True)
class LabelledLogits:
    """Hold the logits of photos with their ground truth."""

    risk_BR: np.ndarray
    diagnosis_BK: np.ndarray
    malignant_B: np.ndarray
    """0 or 1."""
    truth_B: np.ndarray
    """Column of the diagnosis; negative for a photo without one."""
    group_B: Sequence[Hashable] | None = None
    """Patient or lesion; photos of one group are never separated."""

    def __post_init__(self) -> None:
        for name in ("risk_BR", "diagnosis_BK"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), np.float64))

    @property
    def diagnosed(self) -> np.ndarray:
        """Indices of the photos with a diagnosis."""
        return np.flatnonzero(self.truth_B >= 0)

    def __getitem__(self, index: np.ndarray) -> "LabelledLogits":
        group_B = None if self.group_B is None else [self.group_B[i] for i in index.tolist()]
        return LabelledLogits(
            risk_BR=self.risk_BR[index],
            diagnosis_BK=self.diagnosis_BK[index],
            malignant_B=self.malignant_B[index],
            truth_B=self.truth_B[index],
            group_B=group_B,
        )


def fit_calibration(logits: LabelledLogits) -> Calibration:
    """Fit the calibration of both heads by log loss, each on the photos with its label."""
    diagnosed = logits[logits.diagnosed]
    temperature, shift = fit_platt(logits.risk_BR, logits.malignant_B)
    return Calibration(
        diagnosis_temperature=fit_temperature(diagnosed.diagnosis_BK, diagnosed.truth_B),
        risk_temperature=temperature,
        risk_shift=shift,
    )


def fit_temperature(logits_BK: np.ndarray, target_B: np.ndarray) -> float:
    """Fit the temperature that divides logits."""
    logits = torch.from_numpy(np.asarray(logits_BK, np.float64))
    target = torch.from_numpy(np.asarray(target_B, np.int64))
    inverse, _ = _minimize(lambda slope, _: F.cross_entropy(slope * logits, target))
    return 1 / inverse


def fit_platt(risk_BR: np.ndarray, malignant_B: np.ndarray) -> tuple[float, float]:
    """Fit temperature and shift of the risk head's logits by Platt scaling.

    The targets are smoothed by the number of photos, after Platt: perfectly separated classes do not lead to
    probabilities of 0 and 1.
    """
    margin = torch.from_numpy(np.asarray(risk_BR[:, MALIGNANT] - risk_BR[:, 1 - MALIGNANT], np.float64))
    num_malignant = int(malignant_B.sum())
    num_benign = len(malignant_B) - num_malignant
    high, low = (num_malignant + 1) / (num_malignant + 2), 1 / (num_benign + 2)
    target = torch.from_numpy(np.where(malignant_B == 1, high, low))
    inverse, shift = _minimize(
        lambda slope, shift: F.binary_cross_entropy_with_logits(slope * margin + shift, target)
    )
    return 1 / inverse, shift


def fold_in(net: _Net, calibration: Calibration) -> _Net:
    """Return a copy of a network with the calibration folded into its last linear layers."""
    net = copy.deepcopy(net)
    members: Sequence[SingleLesionNet] = net.nets if isinstance(net, LesionEnsemble) else [net]
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


def calibration_metrics(logits: LabelledLogits, calibration: Calibration) -> CalibrationMetrics:
    """Return the calibration, and the calibration error of both heads before and after it.

    The error before is that of the uncalibrated network. The error after is cross-fitted, averaged over ten
    random splits into halves by group.
    """
    risk_SB, diagnosis_SBK = _cross_fitted(logits)
    uncalibrated = Calibration()
    by_risk = Resamples(logits.group_B, logits.malignant_B)
    diagnosed_B = logits.diagnosed
    diagnosed = logits[diagnosed_B]
    by_diagnosis = Resamples(diagnosed.group_B, diagnosed.truth_B)
    return CalibrationMetrics(
        **{name: round(value, DECIMALS) for name, value in asdict(calibration).items()},
        risk_ece_before=by_risk.metric(
            _risk_error(uncalibrated.malignant_probability(logits.risk_BR), logits)
        ),
        risk_ece_after=by_risk.metric(_mean([_risk_error(risk_B, logits) for risk_B in risk_SB])),
        diagnosis_ece_before=by_diagnosis.metric(
            _diagnosis_error(uncalibrated.diagnosis_probability(diagnosed.diagnosis_BK), diagnosed)
        ),
        diagnosis_ece_after=by_diagnosis.metric(
            _mean([_diagnosis_error(one_BK[diagnosed_B], diagnosed) for one_BK in diagnosis_SBK])
        ),
    )


def threshold_for_sensitivity(
    min_sensitivity: float,
    malignant_probability_B: np.ndarray,
    malignant_B: np.ndarray,
    group_B: Sequence[Hashable] | None = None,
) -> float:
    """Return the largest threshold whose cross-validated sensitivity reaches a minimum.

    For each number of missed malignant photos, the threshold is chosen on four folds and evaluated on the
    fifth, for every fold. The largest number with a sufficient sensitivity over all folds is then used to
    choose the threshold on all photos.

    Raises:
        ValueError: no photo is malignant.
    """
    num_malignant = int(malignant_B.sum())
    if not num_malignant:
        raise ValueError("a threshold for a sensitivity needs malignant photos, there are none")
    fold_B = assign_folds(group_B, malignant_B, NUM_FOLDS, seed=0)
    for num_missed in range(int((1 - min_sensitivity) * num_malignant + 1e-9), -1, -1):
        sensitivity = 1 - num_missed / num_malignant
        num_detected = 0
        for fold in range(NUM_FOLDS):
            others, held_out = fold_B != fold, (fold_B == fold) & (malignant_B == 1)
            threshold = _largest_threshold(malignant_probability_B[others], malignant_B[others], sensitivity)
            num_detected += int((malignant_probability_B[held_out] >= threshold).sum())
        if num_detected >= min_sensitivity * num_malignant - 1e-9:
            break
    else:
        sensitivity = 1.0
    # rounded down: the photo that sets the threshold must still reach it
    return float(np.floor(_largest_threshold(malignant_probability_B, malignant_B, sensitivity) * 1e4) / 1e4)


def assign_folds(
    group_B: Sequence[Hashable] | None, class_B: np.ndarray, num_folds: int, *, seed: int
) -> np.ndarray:
    """Assign each example to a fold: whole groups, stratified by class, at random."""
    group_of_B, stratum_of_G = groups_and_strata(group_B, class_B)
    order = np.lexsort((np.random.default_rng(seed).random(len(stratum_of_G)), stratum_of_G))
    fold_of_G = np.empty(len(order), np.int64)
    fold_of_G[order] = np.arange(len(order)) % num_folds
    return fold_of_G[group_of_B]


def _cross_fitted(logits: LabelledLogits) -> tuple[np.ndarray, np.ndarray]:
    """Return cross-fitted probabilities of both heads, (S, B) and (S, B, K)."""
    risk_SB = np.zeros((NUM_SPLITS, len(logits.truth_B)))
    diagnosis_SBK = np.zeros((NUM_SPLITS, *logits.diagnosis_BK.shape))
    for split in range(NUM_SPLITS):
        half_B = assign_folds(logits.group_B, logits.truth_B, 2, seed=split)
        for half in (0, 1):
            fitted, held_out = np.flatnonzero(half_B != half), np.flatnonzero(half_B == half)
            calibration = fit_calibration(logits[fitted]) if len(fitted) else Calibration()
            risk_SB[split, held_out] = calibration.malignant_probability(logits.risk_BR[held_out])
            diagnosis_SBK[split, held_out] = calibration.diagnosis_probability(logits.diagnosis_BK[held_out])
    return risk_SB, diagnosis_SBK


def _risk_error(probability_B: np.ndarray, logits: LabelledLogits) -> Statistic:
    return calibration_error(probability_B, logits.malignant_B)


def _diagnosis_error(probability_BK: np.ndarray, logits: LabelledLogits) -> Statistic:
    return calibration_error(probability_BK.max(1), probability_BK.argmax(1) == logits.truth_B)


def _mean(statistics: Sequence[Statistic]) -> Statistic:
    return lambda count_RB: np.mean([statistic(count_RB) for statistic in statistics], axis=0)


def _largest_threshold(probability_B: np.ndarray, malignant_B: np.ndarray, sensitivity: float) -> float:
    """Return the largest threshold with this sensitivity; 1 without malignant photos."""
    ascending = np.sort(probability_B[malignant_B == 1])
    return float(ascending[int((1 - sensitivity) * len(ascending) + 1e-9)]) if len(ascending) else 1.0


def _minimize(loss_of: Callable[[Tensor, Tensor], Tensor]) -> tuple[float, float]:
    """Return the positive slope and the shift that minimize a loss."""
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
