"""Break the verdicts as served down for the lesion report: by subgroup, reason and degradation."""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from models.lesion.gate import find_weaknesses
from models.metrics import Metric
from train.data.manifest import Row
from train.lesion.breakdowns import is_few, subgroup_bands
from train.lesion.degradations import JUDGEABLE
from train.lesion.gate_calibration import share
from train.lesion.pipeline import PipelineOutput
from train.lesion.report import DegradationShares, ReasonShare, VerdictReport, VerdictSubgroup
from train.lesion.verdict_metrics import (
    ALL,
    VerdictRule,
    risk_by_coverage,
    verdict_metrics,
    verdicts_without_lesion,
)

Effect = Literal["not usable", "inconclusive", "beside the verdict"]
EFFECTS: tuple[Effect, ...] = ("not usable", "inconclusive", "beside the verdict")


def verdict_report(
    outputs: Sequence[PipelineOutput],
    rows: Sequence[Row],
    rule: VerdictRule,
    *,
    degraded: Sequence[PipelineOutput],
    without_lesion: Sequence[PipelineOutput],
) -> VerdictReport:
    """Evaluate the verdicts of a checkpoint.

    Args:
        outputs: of lesion photos.
        rows: of the same photos.
        rule: of the checkpoint.
        degraded: outputs of degradations of the malignant photos that are detected without them.
        without_lesion: outputs of pictures without a lesion.
    """
    source_B = [one.picture.source for one in outputs]
    return VerdictReport(
        has_gate=rule.gate is not None,
        benign_threshold=rule.benign,
        malignant_threshold=rule.malignant,
        overall=verdict_metrics(outputs, rule),
        subgroups={
            title: tuple(_subgroup(name, [outputs[i] for i in index], rule) for name, index in bands.items())
            for title, bands in subgroup_bands(rows, source_B).items()
        },
        reasons=_reason_shares(outputs, rule),
        risk_by_coverage=risk_by_coverage(outputs, rule) if rule.benign < rule.malignant else (),
        degradations=_degradation_shares(degraded, rule),
        without_lesion=verdicts_without_lesion(without_lesion, rule),
    )


def _subgroup(name: str, outputs: Sequence[PipelineOutput], rule: VerdictRule) -> VerdictSubgroup:
    verdicts = verdict_metrics(outputs, rule)
    return VerdictSubgroup(name=name, few=is_few(verdicts.num_malignant, verdicts.n), verdicts=verdicts)


def _reason_shares(outputs: Sequence[PipelineOutput], rule: VerdictRule) -> tuple[ReasonShare, ...]:
    """Return the share of every reason that occurs, the strongest effects and the largest shares first."""
    reasons_B = [_reasons(one, rule) for one in outputs]
    shares = [
        ReasonShare(code=code, effect=effect, share=_share(outputs, [(code, effect) in r for r in reasons_B]))
        for code, effect in set().union(*reasons_B)
    ]
    return tuple(
        sorted(shares, key=lambda one: (EFFECTS.index(one.effect), -(one.share.value or 0), one.code))
    )


def _reasons(output: PipelineOutput, rule: VerdictRule) -> set[tuple[str, Effect]]:
    """Return the reasons of one answer with their effects."""
    problems = output.problems(rule.gate)
    if problems:
        return {(problem.code, "not usable") for problem in problems}
    weaknesses = [] if rule.gate is None else find_weaknesses(output.prepared, rule.gate)
    reasons: set[tuple[str, Effect]] = {(problem.code, "beside the verdict") for problem in weaknesses}
    if rule(output) == "inconclusive":
        reasons.add(("near_threshold", "inconclusive"))
    return reasons


def _degradation_shares(
    degraded: Sequence[PipelineOutput], rule: VerdictRule
) -> tuple[DegradationShares, ...]:
    names = list(dict.fromkeys(one.picture.degradation for one in degraded))
    parts: dict[str, Callable[[str], bool]] = {name: name.__eq__ for name in names}
    if names:
        parts["judgeable, together"] = JUDGEABLE.__contains__
        parts[ALL] = lambda name: True
    return tuple(
        _degradation(name, [one for one in degraded if belongs(one.picture.degradation)], rule)
        for name, belongs in parts.items()
    )


def _degradation(name: str, own: Sequence[PipelineOutput], rule: VerdictRule) -> DegradationShares:
    verdicts = [rule(one) for one in own]
    return DegradationShares(
        name=name,
        judgeable=name in JUDGEABLE,
        malignant=_share(own, [verdict == "malignant" for verdict in verdicts]),
        inconclusive=_share(own, [verdict == "inconclusive" for verdict in verdicts]),
        benign=_share(own, [verdict == "benign" for verdict in verdicts]),
    )


def _share(outputs: Sequence[PipelineOutput], hits: Sequence[bool]) -> Metric:
    return share([one.picture.group for one in outputs], np.array(hits, np.float64))
