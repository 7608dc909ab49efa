"""Metrics for Prometheus, in addition to those of Ray Serve (docs/operations.md).

A metric is created at its first record, inside a replica, so that Serve adds the labels of that replica.
"""

from functools import cache

from ray.serve.metrics import Counter, Histogram

SECONDS = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10]
SIZES = [1, 2, 4, 8, 16, 32, 64, 128, 256]


def record_batch(size: int, seconds: float) -> None:
    """Record size and duration of one batch; a ping has no size and is not recorded."""
    if size:
        _histogram("skinserve_batch_photos", "photos per batch of an engine", tuple(SIZES)).observe(size)
        _histogram("skinserve_engine_seconds", "seconds per batch of an engine", tuple(SECONDS)).observe(
            seconds
        )


def record_decode(seconds: float) -> None:
    """Record how long one photo took to decode."""
    _histogram("skinserve_decode_seconds", "seconds to decode one photo", tuple(SECONDS)).observe(seconds)


def count_verdict(verdict: str) -> None:
    """Count one response by its verdict."""
    _counter("skinserve_verdicts", "responses by verdict", "verdict").inc(tags={"verdict": verdict})


def count_faces(num_found: int, num_photos: int) -> None:
    """Count the photos of a series with and without a face."""
    faces = _counter("skinserve_faces", "photos of series, by whether a face was detected", "found")
    if num_found:
        faces.inc(num_found, tags={"found": "yes"})
    if num_photos > num_found:
        faces.inc(num_photos - num_found, tags={"found": "no"})


def count_error(code: str) -> None:
    """Count one error response, or one error line of a batch, by its code."""
    _counter("skinserve_errors", "error responses and error lines of batches, by code", "code").inc(
        tags={"code": code}
    )


@cache
def _histogram(name: str, description: str, boundaries: tuple[float, ...]) -> Histogram:
    return Histogram(name, description=description, boundaries=list(boundaries))


@cache
def _counter(name: str, description: str, tag: str) -> Counter:
    return Counter(name, description=description, tag_keys=(tag,))
