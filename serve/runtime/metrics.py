"""Metrics for Prometheus, in addition to those of Ray Serve (docs/operations.md).

A metric is created at its first use, inside a replica, so that Serve adds the labels of that replica.
"""

from collections.abc import Sequence
from functools import cache

from ray.serve.metrics import Counter, Histogram

from serve.schemas import Reason

SECONDS = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10]
SIZES = [1.0, 2, 4, 8, 16, 32, 64, 128, 256]


def count_answer(task: str, verdict: str, reasons_given: Sequence[Reason]) -> None:
    """Count one response with its verdict and the codes of its reasons."""
    verdicts().inc(tags={"task": task, "verdict": verdict})
    for reason in reasons_given:
        reasons().inc(tags={"task": task, "code": reason.code})


@cache
def batch_photos() -> Histogram:
    """Return the histogram of batch sizes by ``network``."""
    return Histogram(
        "skinserve_batch_photos",
        description="photos per batch of an engine",
        boundaries=SIZES,
        tag_keys=("network",),
    )


@cache
def engine_seconds() -> Histogram:
    """Return the histogram of batch durations by ``network``."""
    return Histogram(
        "skinserve_engine_seconds",
        description="seconds per batch of an engine",
        boundaries=SECONDS,
        tag_keys=("network",),
    )


@cache
def decode_seconds() -> Histogram:
    """Return the histogram of decoding times."""
    return Histogram(
        "skinserve_decode_seconds", description="seconds to decode and crop one photo", boundaries=SECONDS
    )


@cache
def verdicts() -> Counter:
    """Return the counter of responses by ``task`` and ``verdict``."""
    description = "responses by task and verdict"
    return _counter("skinserve_verdicts", description, ("task", "verdict"))


@cache
def reasons() -> Counter:
    """Return the counter of reasons in responses by ``task`` and ``code``."""
    description = "reasons in responses, by task and code"
    return _counter("skinserve_reasons", description, ("task", "code"))


@cache
def faces() -> Counter:
    """Return the counter of photos of series by ``found``: yes or no."""
    description = "photos of series, by whether a face was detected"
    return Counter("skinserve_faces", description=description, tag_keys=("found",))


@cache
def errors() -> Counter:
    """Return the counter of errors by ``code``."""
    description = "error responses and error lines of batches, by code"
    return Counter("skinserve_errors", description=description, tag_keys=("code",))


@cache
def rate_limited() -> Counter:
    """Return the counter of 429 by ``caller`` and ``limit``: requests, photos or feedback."""
    description = "requests over a limit, by caller (addresses and tokens together) and limit"
    return _counter("skinserve_rate_limited", description, ("caller", "limit"))


@cache
def limiter_failures() -> Counter:
    """Return the counter of outages of the limiter, as seen by a gateway."""
    description = "outages of the limiter of the cluster, as seen by a gateway"
    return Counter("skinserve_limiter_failures", description=description)


@cache
def model_answers() -> Counter:
    """Return the counter of answers by ``task``, ``model`` and ``result``: the verdict or error."""
    description = "answers by task, model (name@version) and result: the verdict or error; with a registry"
    return _counter("skinserve_model_answers", description, ("task", "model", "result"))


@cache
def shadow_answers() -> Counter:
    """Return the counter of shadow answers by ``task`` and ``result``: same, different, error, dropped."""
    description = "shadow answers by task, and whether the verdict is that of production"
    return _counter("skinserve_shadow_answers", description, ("task", "result"))


@cache
def canary_rollbacks() -> Counter:
    """Return the counter of automatic rollbacks by ``task`` and ``cause``."""
    description = "canaries that were rolled back automatically, by task and cause"
    return _counter("skinserve_canary_rollbacks", description, ("task", "cause"))


@cache
def model_switches() -> Counter:
    """Return the counter of changes of the default model by ``task``."""
    description = "changes of the default model of a task in a gateway"
    return Counter("skinserve_model_switches", description=description, tag_keys=("task",))


@cache
def registry_failures() -> Counter:
    """Return the counter of failed attempts to follow the registry by ``task``."""
    description = "failed attempts of a gateway to follow the model registry"
    return Counter("skinserve_registry_failures", description=description, tag_keys=("task",))


def _counter(name: str, description: str, labels: tuple[str, ...]) -> Counter:
    # Ray annotates a tuple of one string and accepts any number
    return Counter(name, description=description, tag_keys=labels)  # pyright: ignore[reportArgumentType]
