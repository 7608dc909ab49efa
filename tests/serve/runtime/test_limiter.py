import pytest

from serve.runtime.errors import ApiError, QueueFullError, overloaded
from serve.runtime.limiter import AdaptiveLimiter


def places(most: int) -> AdaptiveLimiter:
    return AdaptiveLimiter(most, "photos", retry_after_s=3)


def test_beyond_the_places_one_is_refused_and_a_place_comes_back():
    spots = places(2)

    with spots.acquire(), spots.acquire():
        with pytest.raises(ApiError, match="2 photos in work; try again in 3 s") as refusal:
            spots.check()
        with pytest.raises(ApiError), spots.acquire():
            pass
    spots.check(2)

    assert refusal.value.headers == {"Retry-After": "3"}


def test_what_is_larger_than_all_places_is_let_in_alone():
    faces = places(10)

    with faces.acquire(30), pytest.raises(ApiError):
        faces.check()
    with faces.acquire(1), pytest.raises(ApiError):
        faces.check(30)


def test_places_become_fewer_when_the_stage_is_full_and_more_as_it_answers():
    spots = places(20)

    with pytest.raises(ApiError), spots.acquire(10):
        raise QueueFullError(3)
    fewer = spots.limit
    for _ in range(200):
        with spots.acquire():
            pass

    assert (fewer, spots.limit) == (18, 20)


def refuse_all(spots: AdaptiveLimiter, number: int) -> None:
    """Take that many places, one by one, then let the stage refuse all of them."""
    works = [spots.acquire() for _ in range(number)]
    for work in works:
        work.__enter__()
    for work in works:
        error = QueueFullError(3)
        assert not work.__exit__(type(error), error, None)


def test_refusals_that_arrive_together_count_once_and_later_ones_again():
    spots = places(24)
    refuse_all(spots, 24)
    once = spots.limit
    refuse_all(spots, 20)

    assert (once, spots.limit) == pytest.approx((21.6, 19.44))


def test_other_errors_leave_the_places_as_they_are():
    spots = places(20)

    with pytest.raises(ApiError), spots.acquire():
        raise ApiError("no_face", "none")
    with pytest.raises(ValueError), spots.acquire():
        raise ValueError
    with pytest.raises(ApiError), spots.acquire():
        raise overloaded("the stage is being restarted", 3)

    assert spots.limit == 20
