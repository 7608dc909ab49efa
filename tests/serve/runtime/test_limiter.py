import pytest

from serve.runtime.errors import ApiError, FullStageError, overloaded
from serve.runtime.limiter import Places


def places(most: int) -> Places:
    return Places(most, "photos", retry_after_s=3)


def test_beyond_the_places_one_is_refused_and_a_place_comes_back():
    spots = places(2)

    with spots.take(), spots.take():
        with pytest.raises(ApiError, match="2 photos in work; try again in 3 s") as refusal:
            spots.check()
        with pytest.raises(ApiError), spots.take():
            pass
    spots.check(2)

    assert refusal.value.headers == {"Retry-After": "3"}


def test_what_is_larger_than_all_places_is_let_in_alone():
    faces = places(10)

    with faces.take(30), pytest.raises(ApiError):
        faces.check()
    with faces.take(1), pytest.raises(ApiError):
        faces.check(30)


def test_places_become_fewer_when_the_stage_is_full_and_more_as_it_answers():
    spots = places(20)

    with pytest.raises(ApiError), spots.take(10):
        raise FullStageError(3)
    fewer = spots.limit
    for _ in range(200):
        with spots.take():
            pass

    assert (fewer, spots.limit) == (18, 20)


def refuse_all(spots: Places, number: int) -> None:
    """Take that many places, one by one, then let the stage refuse all of them."""
    works = [spots.take() for _ in range(number)]
    for work in works:
        work.__enter__()
    for work in works:
        error = FullStageError(3)
        assert not work.__exit__(type(error), error, None)


def test_refusals_that_arrive_together_count_once_and_later_ones_again():
    spots = places(24)
    refuse_all(spots, 24)
    once = spots.limit
    refuse_all(spots, 20)

    assert (once, spots.limit) == pytest.approx((21.6, 19.44))


def test_other_errors_leave_the_places_as_they_are():
    spots = places(20)

    with pytest.raises(ApiError), spots.take():
        raise ApiError("no_face", "none")
    with pytest.raises(ValueError), spots.take():
        raise ValueError
    with pytest.raises(ApiError), spots.take():
        raise overloaded("the stage is being restarted", 3)

    assert spots.limit == 20
