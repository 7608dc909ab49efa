import pytest

from serve.errors import ApiError, overloaded
from serve.places import Places


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


def test_places_become_fewer_when_the_stage_refuses_and_more_as_it_answers():
    spots = places(20)

    with pytest.raises(ApiError), spots.take(10):
        raise overloaded("the queue is full", 3)
    fewer = spots.limit
    for _ in range(200):
        with spots.take():
            pass

    assert (fewer, spots.limit) == (9, 20)


def test_other_errors_leave_the_places_as_they_are():
    spots = places(20)

    with pytest.raises(ApiError), spots.take():
        raise ApiError("no_face", "none")
    with pytest.raises(ValueError), spots.take():
        raise ValueError

    assert spots.limit == 20
