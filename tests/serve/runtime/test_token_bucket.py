from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.runtime.token_bucket import DailyQuota, TokenBucket

rates = st.floats(0.01, 1000)
bursts = st.integers(1, 100)
steps = st.lists(st.tuples(st.floats(0, 10), st.integers(0, 20)), max_size=50)


@given(rate=rates, burst=bursts, steps=steps)
def test_never_more_than_the_rate_and_one_burst_are_taken_in_any_time(rate, burst, steps):
    bucket = TokenBucket(rate, burst, now=0)
    now, taken = 0.0, [(0.0, 0)]
    for pause_s, wanted in steps:
        now += pause_s
        taken.append((now, bucket.take(wanted, now)))

    for start in range(len(taken)):
        since = taken[start][0]
        number = sum(count for _, count in taken[start:])
        assert number <= rate * (now - since) + burst + 1e-6


@given(rate=rates, burst=bursts, wanted=st.integers(1, 200))
def test_the_first_burst_is_granted_at_once(rate, burst, wanted):
    assert TokenBucket(rate, burst, now=5).take(wanted, 5) == min(wanted, burst)


@given(rate=rates, burst=bursts)
def test_a_token_is_there_after_the_stated_time_and_not_before(rate, burst):
    bucket = TokenBucket(rate, burst, now=0, level=0)

    wait_s = bucket.wait_s(0)

    assert bucket.take(1, wait_s * 0.99) == 0
    assert bucket.take(1, wait_s) == 1


@given(rate=rates, burst=bursts, returned=st.integers(-300, 300), pause_s=st.floats(0, 100))
def test_returned_tokens_never_exceed_the_burst_and_there_are_no_debts(rate, burst, returned, pause_s):
    bucket = TokenBucket(rate, burst, now=0)

    bucket.give_back(returned, 0)

    assert 0 <= bucket.level(0) <= burst
    assert bucket.level(pause_s) <= burst


def test_a_clock_that_goes_back_grants_nothing():
    bucket = TokenBucket(1, 1, now=100)

    assert bucket.take(1, 100) == 1
    assert bucket.take(1, 50) == 0
    assert bucket.take(1, 101) == 1


def test_a_changed_limit_applies_at_once():
    bucket = TokenBucket(1, 10, now=0)

    bucket.configure(2, 3, 0)

    assert bucket.take(10, 0) == 3
    assert bucket.wait_s(0) == pytest.approx(0.5)


def test_a_day_starts_at_midnight_of_the_time_zone():
    quota = DailyQuota("Europe/Berlin")
    before = datetime(2026, 11, 26, 22, 59, tzinfo=UTC)

    assert quota.left(10, before) == 10
    quota.used = 10
    assert quota.left(10, before) == 0
    assert quota.reset_time() == datetime(2026, 11, 26, 23, 0, tzinfo=UTC)
    assert quota.left(10, quota.reset_time()) == 10


def test_days_of_23_and_25_hours_end_at_midnight():
    quota = DailyQuota("Europe/Berlin")
    days_of_change = (datetime(2026, 3, 29, 12, tzinfo=UTC), datetime(2026, 10, 25, 12, tzinfo=UTC))

    resets = []
    for noon in days_of_change:
        quota.left(1, noon)
        resets.append(quota.reset_time())

    assert resets == [datetime(2026, 3, 29, 22, tzinfo=UTC), datetime(2026, 10, 25, 23, tzinfo=UTC)]


def test_a_clock_that_is_set_back_over_midnight_does_not_reset_the_quota():
    quota = DailyQuota("UTC")
    quota.left(10, datetime(2026, 11, 27, 0, 1, tzinfo=UTC))
    quota.used = 10

    assert quota.left(10, datetime(2026, 11, 26, 23, 59, tzinfo=UTC)) == 0
    assert quota.left(10, datetime(2026, 11, 27, 12, 0, tzinfo=UTC)) == 0
    assert quota.left(10, datetime(2026, 11, 20, 12, 0, tzinfo=UTC)) == 10
