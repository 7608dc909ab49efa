from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.progress.photo_order import Order, find_missing_times, read_times, sort_photos

EARLY, LATE = datetime(2026, 1, 1), datetime(2026, 1, 2)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], None),
        (["", " "], None),
        (["2026-01-01", "2026-01-02"], [EARLY, LATE]),
        (
            ["2026-01-01T00:00Z", "2026-01-02T00:00+00:00"],
            [EARLY.replace(tzinfo=UTC), LATE.replace(tzinfo=UTC)],
        ),
    ],
)
def test_times_are_parsed_as_iso_8601(texts: list[str], expected: list[datetime] | None):
    assert read_times(texts, 2) == expected


def test_sent_times_take_precedence_over_exif():
    assert sort_photos([LATE, EARLY], [EARLY, LATE])[:2] == ("taken_at", [1, 0])


def test_times_with_zones_are_compared_as_points_in_time():
    east, west = timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))
    sent = [datetime(2026, 1, 2, tzinfo=east), datetime(2026, 1, 1, tzinfo=west)]

    assert sort_photos(sent, [None, None])[1] == [0, 1]


def test_equal_times_keep_the_order_of_the_request():
    assert sort_photos([LATE, EARLY, EARLY], [None] * 3)[1] == [1, 2, 0]


def test_time_zones_are_ignored_if_only_some_exif_times_have_one():
    order, positions, times = sort_photos(None, [LATE.replace(tzinfo=UTC), EARLY])

    assert (order, positions) == ("exif", [1, 0])
    assert times[0] == LATE.replace(tzinfo=UTC)


def test_missing_times_are_named():
    assert find_missing_times("upload", [EARLY, None, LATE, None, None])[0].model_dump() == {
        "code": "times_missing",
        "message": "photos 2, 4 and 5 record no capture time, so the photos count as uploaded oldest first; "
        "send taken_at for each photo",
    }
    assert find_missing_times("upload", [EARLY, None])[0].message.startswith(
        "photo 2 records no capture time"
    )


def test_an_upload_order_that_contradicts_the_known_times_is_named():
    (reason,) = find_missing_times("upload", [EARLY, LATE, None, EARLY.replace(tzinfo=UTC)])

    assert reason.code == "times_missing"
    assert "photo 4 was taken before photo 2" in reason.message
    assert "the answer may be reversed" in reason.message


@pytest.mark.parametrize(
    ("order", "times"),
    [
        ("upload", [None, None]),
        ("exif", [LATE, EARLY]),
        ("taken_at", [LATE, EARLY]),
    ],
)
def test_no_time_is_missing_if_all_are_known_or_none_is(order: Order, times: list[datetime | None]):
    assert find_missing_times(order, times) == []


@given(st.lists(st.datetimes(timezones=st.timezones()), min_size=2, max_size=5))
def test_any_times_with_zones_can_be_sorted(times: list[datetime]):
    texts = [time.replace(tzinfo=timezone(time.utcoffset() or timedelta())).isoformat() for time in times]
    read = read_times(texts, len(times))

    assert read is not None
    positions = sort_photos(read, [None] * len(read))[1]
    assert sorted(positions) == list(range(len(read)))
    assert all(read[one] <= read[two] for one, two in pairwise(positions))
