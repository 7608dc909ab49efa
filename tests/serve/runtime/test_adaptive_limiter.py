import pytest

from serve.runtime.admission import AdaptiveLimiter
from serve.runtime.errors import ApiError, QueueFullError, overloaded


def limiter(max_limit: int) -> AdaptiveLimiter:
    return AdaptiveLimiter(max_limit, "photos", retry_after_s=3)


def test_items_over_the_limit_are_rejected_until_one_is_released():
    photos = limiter(2)

    with photos.acquire(), photos.acquire():
        with pytest.raises(ApiError, match="2 photos are in progress; try again in 3 s") as rejection:
            photos.check()
        with pytest.raises(ApiError), photos.acquire():
            pass
    photos.check(2)

    assert rejection.value.headers == {"Retry-After": "3"}


def test_an_idle_limiter_accepts_more_items_than_its_limit():
    photos = limiter(10)

    with photos.acquire(30), pytest.raises(ApiError):
        photos.check()
    with photos.acquire(1), pytest.raises(ApiError):
        photos.check(30)


def test_the_limit_falls_when_the_queue_is_full_and_rises_with_answers():
    photos = limiter(20)

    with pytest.raises(ApiError), photos.acquire(10):
        raise QueueFullError(3)
    lowered = photos.limit
    for _ in range(200):
        with photos.acquire():
            pass

    assert (lowered, photos.limit) == (18, 20)


def reject_all(photos: AdaptiveLimiter, number: int) -> None:
    """Acquire ``number`` items one by one, then fail all of them with a full queue."""
    contexts = [photos.acquire() for _ in range(number)]
    for context in contexts:
        context.__enter__()
    for context in contexts:
        error = QueueFullError(3)
        assert not context.__exit__(type(error), error, None)


def test_concurrent_rejections_lower_the_limit_once():
    photos = limiter(24)
    reject_all(photos, 24)
    once = photos.limit
    reject_all(photos, 20)

    assert (once, photos.limit) == pytest.approx((21.6, 19.44))


def test_other_errors_leave_the_limit_unchanged():
    photos = limiter(20)

    with pytest.raises(ApiError), photos.acquire():
        raise ApiError("no_face", "none")
    with pytest.raises(ValueError), photos.acquire():
        raise ValueError
    with pytest.raises(ApiError), photos.acquire():
        raise overloaded("the model is being restarted", 3)

    assert photos.limit == 20
