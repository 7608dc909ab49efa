"""Answer counts of a model, and significance tests of a canary against production. No Ray.

Decision: docs/decisions/0032-model-registry.md.
"""

from __future__ import annotations

import bisect
import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from serve.config import CanaryLimits

LATENCY_EDGES_S = tuple(0.001 * 1.2**step for step in range(68))
"""Upper edges of the latency histogram: 1 ms to 200 s."""

Cause = Literal["errors", "latency", "verdicts", "reasons"]


@dataclass(kw_only=True)
class AnswerCounts:
    """Answers of one model in a period; counts of several gateways can be added."""

    num_answers: int = 0
    """Errors included."""
    num_errors: int = 0
    latencies: Counter[int] = field(default_factory=Counter)
    """Answers without an error by index in ``LATENCY_EDGES_S``."""
    verdicts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    """Answers by code of a reason; an answer may have several."""

    def add_answer(self, verdict: str, reasons: Iterable[str], latency_s: float) -> None:
        """Count one answer."""
        self.num_answers += 1
        self.verdicts[verdict] += 1
        self.reasons.update(set(reasons))
        self.latencies[bisect.bisect_left(LATENCY_EDGES_S, latency_s)] += 1

    def add_error(self) -> None:
        """Count one request that failed in the server."""
        self.num_answers += 1
        self.num_errors += 1

    def add(self, other: AnswerCounts) -> None:
        """Add other counts."""
        self.num_answers += other.num_answers
        self.num_errors += other.num_errors
        self.latencies += other.latencies
        self.verdicts += other.verdicts
        self.reasons += other.reasons

    @property
    def num_without_error(self) -> int:
        """Return the number of answers that have a verdict and a latency."""
        return self.num_answers - self.num_errors

    def latency_index(self, share: float) -> int:
        """Return the index in ``LATENCY_EDGES_S`` of a quantile of the latency."""
        needed, seen = share * self.num_without_error, 0
        for index in sorted(self.latencies):
            seen += self.latencies[index]
            if seen >= needed:
                return index
        return 0


@dataclass(frozen=True, kw_only=True)
class Violation:
    """A bound that a canary exceeds."""

    cause: Cause
    description: str
    """One line with both values, their n and the bound."""


def find_violation(production: AnswerCounts, canary: AnswerCounts, limits: CanaryLimits) -> Violation | None:
    """Return the first bound that the canary exceeds significantly; None without one.

    Too few answers exceed no bound.
    """
    if canary.num_answers < limits.min_answers:
        return None
    checks = (_errors, _latency, _verdicts, _reasons)
    return next((found for check in checks if (found := check(production, canary, limits))), None)


def _errors(production: AnswerCounts, canary: AnswerCounts, limits: CanaryLimits) -> Violation | None:
    if limits.max_error_increase is None:
        return None
    baseline = production.num_errors / production.num_answers if production.num_answers else 0.0
    bound = baseline + limits.max_error_increase
    if not _exceeds(canary.num_errors, canary.num_answers, bound, limits.alpha):
        return None
    return Violation(
        cause="errors",
        description=f"errors: {_share(canary.num_errors, canary.num_answers)}, production "
        f"{_share(production.num_errors, production.num_answers)}, bound {bound:.3f}",
    )


def _latency(production: AnswerCounts, canary: AnswerCounts, limits: CanaryLimits) -> Violation | None:
    """Check that at most 5% of the canary's answers are slower than the bound.

    The bound is a multiple of the 95% quantile of production.
    """
    enough = production.num_without_error >= limits.min_answers <= canary.num_without_error
    if limits.max_latency_ratio is None or not enough:
        return None
    p95_s = _edge_s(production.latency_index(0.95))
    first_slow = bisect.bisect_left(LATENCY_EDGES_S, limits.max_latency_ratio * p95_s) + 1
    num_slow = sum(number for index, number in canary.latencies.items() if index >= first_slow)
    if not _exceeds(num_slow, canary.num_without_error, 0.05, limits.alpha):
        return None
    return Violation(
        cause="latency",
        description=f"latency: 95% of answers within {_edge_s(canary.latency_index(0.95)):.2g} s (n "
        f"{canary.num_without_error}), production {p95_s:.2g} s (n {production.num_without_error}), bound "
        f"{limits.max_latency_ratio:g} times",
    )


def _verdicts(production: AnswerCounts, canary: AnswerCounts, limits: CanaryLimits) -> Violation | None:
    return _shares("verdicts", lambda counts: counts.verdicts, production, canary, limits)


def _reasons(production: AnswerCounts, canary: AnswerCounts, limits: CanaryLimits) -> Violation | None:
    return _shares("reasons", lambda counts: counts.reasons, production, canary, limits)


def _shares(
    cause: Cause,
    counter_of: Callable[[AnswerCounts], Counter[str]],
    production: AnswerCounts,
    canary: AnswerCounts,
    limits: CanaryLimits,
) -> Violation | None:
    n, canary_n = production.num_without_error, canary.num_without_error
    if limits.max_share_difference is None or min(n, canary_n) < limits.min_answers:
        return None
    before, after = counter_of(production), counter_of(canary)
    names = sorted(before.keys() | after.keys())
    for name in names:
        difference = abs(after[name] / canary_n - before[name] / n)
        if difference > limits.max_share_difference and _differ(
            (after[name], canary_n), (before[name], n), limits.alpha / len(names)
        ):
            return Violation(
                cause=cause,
                description=f"{cause}: {name} in {_share(after[name], canary_n)}, production "
                f"{_share(before[name], n)}, bound {limits.max_share_difference:g} apart",
            )
    return None


def _exceeds(number: int, n: int, bound: float, alpha: float) -> bool:
    """Return whether a share is above a bound by an exact binomial test."""
    return number > n * bound and _binomial_tail(number, n, bound) < alpha


def _binomial_tail(number: int, n: int, p: float) -> float:
    """Return the probability of at least ``number`` of ``n``, for ``number`` above ``n * p``."""
    if p <= 0:
        return 0.0
    log_choose = math.lgamma(n + 1) - math.lgamma(number + 1) - math.lgamma(n - number + 1)
    term = math.exp(log_choose + number * math.log(p) + (n - number) * math.log1p(-p))
    total = term
    for one in range(number, n):
        term *= (n - one) / (one + 1) * p / (1 - p)
        total += term
        if term < 1e-9 * total:
            break
    return total


def _differ(first: tuple[int, int], second: tuple[int, int], alpha: float) -> bool:
    """Return whether two shares differ by the two-proportion z-test."""
    (a, n), (b, m) = first, second
    pooled = (a + b) / (n + m)
    deviation = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    return deviation > 0 and math.erfc(abs(a / n - b / m) / deviation / math.sqrt(2)) < alpha


def _edge_s(index: int) -> float:
    return LATENCY_EDGES_S[min(index, len(LATENCY_EDGES_S) - 1)]


def _share(number: int, n: int) -> str:
    return f"{number / n:.3f} of {n}" if n else "none of 0"
