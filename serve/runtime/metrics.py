"""What Prometheus can read of us, beside what Ray Serve counts itself (docs/operations.md).

A metric comes to life when it is first noted, inside a replica, so that Serve adds which one.
"""

from functools import cache

from ray.serve.metrics import Counter, Histogram

SECONDS = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10]
SIZES = [1, 2, 4, 8, 16, 32, 64, 128, 256]


def record_batch(size: int, seconds: float) -> None:
    """Note one batch that an engine computed; a mere ping has no size and does not count."""
    if size:
        _histogram("skinserve_batch_photos", "photos computed together", tuple(SIZES)).observe(size)
        _histogram("skinserve_engine_seconds", "time that one batch took", tuple(SECONDS)).observe(seconds)


def record_decode(seconds: float) -> None:
    """Note how long one photo took to decode."""
    _histogram("skinserve_decode_seconds", "time that one photo took to decode", tuple(SECONDS)).observe(
        seconds
    )


def count_verdict(verdict: str) -> None:
    """Note one answer, by its verdict."""
    _counter("skinserve_verdicts", "answers by verdict", "verdict").inc(tags={"verdict": verdict})


def count_faces(num_found: int, num_photos: int) -> None:
    """Note in how many photos of a series a face was found."""
    faces = _counter("skinserve_faces", "photos of series, by whether a face was found", "found")
    if num_found:
        faces.inc(num_found, tags={"found": "yes"})
    if num_photos > num_found:
        faces.inc(num_photos - num_found, tags={"found": "no"})


def count_error(code: str) -> None:
    """Note one error answer, or one error line of a batch, by its code."""
    _counter("skinserve_errors", "errors answered, by code", "code").inc(tags={"code": code})


@cache
def _histogram(name: str, description: str, boundaries: tuple[float, ...]) -> Histogram:
    return Histogram(name, description=description, boundaries=list(boundaries))


@cache
def _counter(name: str, description: str, tag: str) -> Counter:
    return Counter(name, description=description, tag_keys=(tag,))
