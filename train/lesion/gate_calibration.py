"""Fit the gate of a lesion network to validation pictures.

The network's scope head was trained with it; the gate's threshold is set to a share of falsely rejected
lesions. Axes: N picture.
"""

from collections.abc import Sequence

import numpy as np

from models.lesion.gate import LesionGate
from models.metrics import Metric
from train.bootstrap import Resamples, with_exact_bounds
from train.lesion.pipeline import PipelineOutput, unchanged

MAX_REJECTED = 0.08
"""Share of the unchanged lesion photos of a source that scope alone may reject, by validation."""
MIN_PHOTOS = 80
"""Sources with fewer photos do not decide."""
BLURRED_SHARE = 0.02
"""Share of the unchanged lesion photos that are called blurred."""
MIN_BOX_PX = 16.0
"""Longer side of a lesion; smaller ones have too few pixels for colour and structure."""
NOT_SKIN_BELOW, NO_LESION_BELOW = 0.5, 0.5
"""The localizer's outputs only choose between the reasons."""


def fit_gate(outputs: Sequence[PipelineOutput]) -> LesionGate:
    """Fit the thresholds of a gate; hashes are left empty.

    ``min_scope`` is the highest threshold that rejects at most ``MAX_REJECTED`` of the unchanged lesion
    photos in every source with ``MIN_PHOTOS``; 0 for a network without a scope head.

    Args:
        outputs: of validation pictures, by one network.
    """
    lesions = unchanged(outputs)
    found = [one for one in lesions if one.prepared.lesion_box is not None]
    by_source = _by_source(found)
    large = [own for own in by_source.values() if len(own) >= MIN_PHOTOS] or [found]
    scopes = [[one.scope for one in own if one.scope is not None] for own in large]
    limits = [float(np.quantile(own, MAX_REJECTED)) if own else 0.0 for own in scopes]
    gate = LesionGate(
        network_sha256="",
        localizer_sha256="",
        min_scope=round(min(limits), 4),
        min_skin=NOT_SKIN_BELOW,
        min_lesion=NO_LESION_BELOW,
        min_box_px=MIN_BOX_PX,
        min_sharpness=round(float(np.quantile([one.prepared.sharpness for one in found], BLURRED_SHARE)), 4),
        false_rejections={},
    )
    return gate.model_copy(update={"false_rejections": rejection_rates(lesions, gate)})


def rejection_rates(outputs: Sequence[PipelineOutput], gate: LesionGate) -> dict[str, Metric]:
    """Return by source the share of pictures that are not usable, with 95% intervals over groups."""
    rates: dict[str, Metric] = {}
    for source, own in _by_source(outputs).items():
        rejected_N = np.array([float(bool(one.problems(gate))) for one in own])
        rates[source] = share([one.picture.group for one in own], rejected_N)
    return rates


def share(groups: Sequence[str], hit_N: np.ndarray) -> Metric:
    """Return the mean of values 0 or 1 with a 95% interval over groups.

    It is a bootstrap interval; of a share of 0 or 1 the exact binomial interval.
    """
    if not len(hit_N):
        return Metric()
    resamples = Resamples(list(groups), np.zeros(len(hit_N), int))
    metric = resamples.metric(lambda count_RN: count_RN @ hit_N / count_RN.sum(1))
    return with_exact_bounds(metric, len(set(groups))).model_copy(update={"n": len(hit_N)})


def _by_source(outputs: Sequence[PipelineOutput]) -> dict[str, list[PipelineOutput]]:
    by_source: dict[str, list[PipelineOutput]] = {}
    for one in outputs:
        by_source.setdefault(one.picture.source, []).append(one)
    return by_source
