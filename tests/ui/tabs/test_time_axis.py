from datetime import datetime, timedelta, timezone
from itertools import pairwise

import pytest

from ui.dates import format_date
from ui.tabs.time_axis import time_axis

LEFT, RIGHT = 48, 306
"""Frame of the narrow plot."""
MARCH = datetime(2026, 3, 1, 9)


def texts(times: list[datetime | None], right: int = RIGHT) -> list[str]:
    axis = time_axis(times, LEFT, right)
    return [
        format_date(tick.time, axis.style) if tick.time and axis.style else str(tick.number)
        for tick in axis.ticks
    ]


def test_photos_stand_at_their_dates():
    axis = time_axis([MARCH, MARCH + timedelta(days=1), MARCH + timedelta(days=4)], 0, 460)

    assert axis.x == (30, 130, 430)


@pytest.mark.parametrize(
    ("apart", "labels"),
    [
        (timedelta(hours=3), ["09:00", "12:00", "15:00"]),
        (timedelta(days=30), ["Mar 1", "Mar 31", "Apr 30"]),
        (timedelta(days=300), ["Mar 1, 2026", "Dec 26, 2026", "Oct 22, 2027"]),
    ],
)
def test_labels_have_as_much_of_the_date_as_tells_them_apart(apart: timedelta, labels: list[str]):
    assert texts([MARCH, MARCH + apart, MARCH + 2 * apart]) == labels


def test_without_one_of_the_dates_the_axis_has_numbers_at_equal_steps():
    axis = time_axis([MARCH, None, MARCH + timedelta(days=4)], 0, 260)

    assert axis.x == (30, 130, 230) and axis.style is None and axis.first is None
    assert texts([MARCH, None, MARCH + timedelta(days=4)]) == ["1", "2", "3"]


def test_photos_of_one_moment_stand_at_equal_steps():
    assert texts([MARCH, MARCH]) == ["1", "2"]


def test_dates_against_the_order_are_no_axis():
    assert texts([MARCH + timedelta(days=1), MARCH]) == ["1", "2"]


def test_times_with_and_without_a_zone_are_compared_as_written():
    zoned = (MARCH + timedelta(days=2)).replace(tzinfo=timezone(timedelta(hours=2)))

    assert texts([MARCH, zoned]) == ["Mar 1", "Mar 3"]


@pytest.mark.parametrize("num_photos", [2, 5, 30])
@pytest.mark.parametrize("right", [RIGHT, 546])
def test_labels_of_many_photos_do_not_touch_and_name_the_first_and_the_last(num_photos: int, right: int):
    times: list[datetime | None] = [MARCH + timedelta(days=day**2) for day in range(num_photos)]
    axis = time_axis(times, LEFT, right)

    assert all(b.x - a.x >= 54 for a, b in pairwise(axis.ticks))
    assert [axis.ticks[0].number, axis.ticks[-1].number] == [1, num_photos]
    assert all(LEFT <= x <= right for x in axis.x)


def test_numbers_under_the_plot_of_thirty_photos_do_not_touch():
    axis = time_axis([None] * 30, LEFT, RIGHT)

    assert len(axis.ticks) >= 5
    assert all(b.x - a.x >= 22 for a, b in pairwise(axis.ticks))
