"""Thresholds of the verdicts improved and worsened from series without a change. Axes: B series."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from models.metrics import Metric
from models.progress.engine import ProgressEngine
from models.progress.metrics import VerdictMetrics
from models.progress.verdict import VerdictThresholds
from train.bootstrap import two_stage_metric
from train.progress.predictions import predict_improved
from train.progress.series import Series

MAX_CALLED = 0.08
"""Largest share of series without a change that the thresholds call improved or worsened, of the people
that they are fitted on. It leaves room to 0.1 for other people (docs/decisions/0026-no-clear-change.md)."""
FITTED_KINDS = ("undrawn", "altered")
"""Kinds of no-change controls that the thresholds are fitted on: real photos."""
UNDECIDED = VerdictThresholds(improved=0.5)
"""Two verdicts, for networks without no-change controls of two people."""


class VerdictData:
    """Probabilities of a network on series without and with a change.

    Args:
        no_change: controls by kind.
        changed: series with a verdict, by renderer.
    """

    def __init__(
        self,
        engine: ProgressEngine,
        no_change: Mapping[str, Sequence[Series]],
        changed: Mapping[str, Sequence[Series]],
    ) -> None:
        self._no_change = {kind: _Probabilities(engine, own) for kind, own in no_change.items() if own}
        self._changed = {kind: _Probabilities(engine, own) for kind, own in changed.items() if own}
        self._fitted = [self._no_change[kind] for kind in FITTED_KINDS if kind in self._no_change]

    def thresholds(self, *, without: str = "") -> VerdictThresholds:
        """Fit both thresholds at one distance from one half; every person weighs the same.

        Args:
            without: person to leave out.
        """
        if not self._fitted:
            return UNDECIDED
        distance_B = np.concatenate([abs(one.improved_B - 0.5) for one in self._fitted])
        person_B = np.concatenate([one.person_B for one in self._fitted])
        distance_B, person_B = distance_B[person_B != without], person_B[person_B != without]
        people, inverse_B, count = np.unique(person_B, return_inverse=True, return_counts=True)
        if len(people) < 2:
            return UNDECIDED
        order_B = np.argsort(-distance_B)
        share_B = np.cumsum(1 / count[inverse_B[order_B]]) / len(people)
        first_kept = int(np.searchsorted(share_B, MAX_CALLED, side="right"))
        distance = float(distance_B[order_B][first_kept])  # this series and all nearer to 0.5 are not called
        threshold = min(1.0, round(math.floor(1000 * (0.5 + distance)) / 1000 + 0.001, 3))
        return VerdictThresholds(improved=threshold, worsened=threshold)

    def metrics(self, thresholds: VerdictThresholds | None = None) -> VerdictMetrics:
        """Return the rates at these thresholds; None: fitted without the person of each series."""
        people = {
            person for one in (*self._no_change.values(), *self._changed.values()) for person in one.person_B
        }
        by_person = {person: thresholds or self.thresholds(without=person) for person in people}
        called = {kind: one.sign_of_verdict(by_person) != 0 for kind, one in self._no_change.items()}
        right = {kind: one.sign_of_verdict(by_person) * one.sign_B for kind, one in self._changed.items()}
        return VerdictMetrics(
            called={kind: _rate(called_B, self._no_change[kind]) for kind, called_B in called.items()},
            called_by_person={
                kind: self._no_change[kind].mean_by_person(called_B)
                for kind, called_B in called.items()
                if kind in FITTED_KINDS
            },
            found={kind: _rate(right_B == 1, self._changed[kind]) for kind, right_B in right.items()},
            opposite={kind: _rate(right_B == -1, self._changed[kind]) for kind, right_B in right.items()},
        )


class _Probabilities:
    """Probabilities of improved on series, with their people and labels."""

    def __init__(self, engine: ProgressEngine, series: Sequence[Series]) -> None:
        self.improved_B = predict_improved(engine, series)
        self.person_B = np.array([one.person for one in series])
        self.sign_B = np.array([1 if one.improved else -1 for one in series])

    def sign_of_verdict(self, thresholds: Mapping[str, VerdictThresholds]) -> np.ndarray:
        """Return 1 for improved, -1 for worsened, 0 for no clear change, (B,).

        Args:
            thresholds: by person.
        """
        sign = {"improved": 1, "worsened": -1, "no_clear_change": 0}
        return np.array(
            [
                sign[thresholds[person].verdict(improved)]
                for person, improved in zip(self.person_B, self.improved_B, strict=True)
            ]
        )

    def mean_by_person(self, value_B: np.ndarray) -> dict[str, float]:
        """Return the mean of each person's series."""
        return {
            str(person): round(float(value_B[self.person_B == person].mean()), 4)
            for person in np.unique(self.person_B)
        }


def _rate(value_B: np.ndarray, one: _Probabilities) -> Metric:
    metric = two_stage_metric(lambda index: float(value_B[index].mean()), one.person_B)
    return metric.model_copy(update={"n": len(value_B)})
