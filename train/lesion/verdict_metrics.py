"""Evaluate the three-way verdict of the whole pipeline on pictures with ground truth.

Axes: N picture.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from models.lesion.gate import LesionGate
from models.lesion.metrics import CoverageMetrics, LesionVerdictMetrics
from models.metrics import Metric
from train.lesion.gate_calibration import share
from train.lesion.pipeline import PipelineOutput, Verdict, unchanged

NUM_COVERAGES = 21
ALL = "all"


@dataclass(frozen=True, kw_only=True)
class VerdictRule:
    """What turns an output into a verdict: gate and thresholds of a checkpoint."""

    gate: LesionGate | None
    benign: float
    malignant: float

    def __call__(self, output: PipelineOutput) -> Verdict:
        """Return the verdict of one picture."""
        return output.verdict(self.gate, benign=self.benign, malignant=self.malignant)


def verdict_metrics(outputs: Sequence[PipelineOutput], rule: VerdictRule) -> LesionVerdictMetrics:
    """Evaluate the verdicts on unchanged lesion photos."""
    lesions = unchanged(outputs)
    malignant = [one for one in lesions if one.picture.malignant]
    benign = [one for one in lesions if not one.picture.malignant]
    return LesionVerdictMetrics(
        n=len(lesions),
        num_malignant=len(malignant),
        called_benign=_share(malignant, lambda one: rule(one) == "benign"),
        called_malignant=_share(benign, lambda one: rule(one) == "malignant"),
        inconclusive=_share(lesions, lambda one: rule(one) == "inconclusive"),
        not_usable=_share(lesions, lambda one: bool(one.problems(rule.gate))),
    )


def verdict_metrics_by_source(
    outputs: Sequence[PipelineOutput], rule: VerdictRule, together: dict[str, Iterable[str]]
) -> dict[str, LesionVerdictMetrics]:
    """Evaluate each source, and the sources together.

    Args:
        outputs: of pictures of any kind; lesion photos without degradation count.
        rule: of the checkpoint.
        together: sources by name of the union.
    """
    names = list(dict.fromkeys(one.picture.source for one in unchanged(outputs)))
    parts: dict[str, Iterable[str]] = {**{name: [name] for name in names}, **together, ALL: names}
    return {
        name: verdict_metrics([one for one in outputs if one.picture.source in set(sources)], rule)
        for name, sources in parts.items()
    }


def degradation_metrics(
    outputs: Sequence[PipelineOutput], rule: VerdictRule
) -> tuple[dict[str, Metric], dict[str, Metric]]:
    """Return by degradation the shares of detected malignant photos that it turns benign and inconclusive."""
    malignant = [one for one in outputs if one.picture.malignant]
    detected = {
        one.picture.name for one in malignant if not one.picture.degradation and rule(one) == "malignant"
    }
    degraded = [one for one in malignant if one.picture.degradation and one.picture.name in detected]
    missed: dict[str, Metric] = {}
    inconclusive: dict[str, Metric] = {}
    for name in [*dict.fromkeys(one.picture.degradation for one in degraded), ALL]:
        own = [one for one in degraded if name in (one.picture.degradation, ALL)]
        missed[name] = _share(own, lambda one: rule(one) == "benign")
        inconclusive[name] = _share(own, lambda one: rule(one) == "inconclusive")
    return missed, inconclusive


def verdicts_without_lesion(outputs: Sequence[PipelineOutput], rule: VerdictRule) -> dict[str, Metric]:
    """Return by source the share of pictures without a lesion that get a verdict benign or malignant."""
    others = [one for one in outputs if one.picture.malignant is None]
    return {
        source: _share(
            [one for one in others if one.picture.source == source], lambda one: rule(one) != "inconclusive"
        )
        for source in dict.fromkeys(one.picture.source for one in others)
    }


def risk_by_coverage(outputs: Sequence[PipelineOutput], rule: VerdictRule) -> tuple[CoverageMetrics, ...]:
    """Return the error rates from one threshold at the middle to twice the released inconclusive range.

    The range grows around its middle in log-odds.
    """
    usable = [one for one in unchanged(outputs) if not one.problems(rule.gate)]
    total = len(unchanged(outputs))
    num_malignant = sum(bool(one.picture.malignant) for one in unchanged(outputs))
    if not usable:
        return ()
    odds_N = _log_odds(np.array([one.malignant_probability for one in usable]))
    malignant_N = np.array([bool(one.picture.malignant) for one in usable])
    low, high = _log_odds(np.array([rule.benign, rule.malignant]))
    middle, half = (low + high) / 2, (high - low) / 2
    points: list[CoverageMetrics] = []
    for width in np.linspace(0, 2, NUM_COVERAGES):
        benign_N, called_N = odds_N < middle - width * half, odds_N >= middle + width * half
        points.append(
            CoverageMetrics(
                coverage=round(float((benign_N | called_N).sum() / total), 4),
                called_benign=_rate(benign_N[malignant_N], num_malignant),
                called_malignant=_rate(called_N[~malignant_N], total - num_malignant),
            )
        )
    return tuple(points)


def _share(outputs: Sequence[PipelineOutput], hit: Callable[[PipelineOutput], bool]) -> Metric:
    return share([one.picture.group for one in outputs], np.array([float(hit(one)) for one in outputs]))


def _rate(hit_N: np.ndarray, total: int) -> float | None:
    return round(float(hit_N.sum() / total), 4) if total else None


def _log_odds(probability_N: np.ndarray) -> np.ndarray:
    probability_N = np.clip(probability_N, 1e-7, 1 - 1e-7)
    return np.log(probability_N / (1 - probability_N))
