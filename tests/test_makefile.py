"""``make test`` runs every test that is not slow."""

import re

from tests.conftest import ROOT

_MARKS = re.compile(r"pytest\.mark\.(server|browser|cluster)\b")


def test_tests_that_start_processes_are_in_the_folders_that_make_test_names():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    folders = {folder for line in re.findall(r"\$\(STARTS\)' (.*)", makefile) for folder in line.split()}
    assert "tests/e2e" in folders and "tests/ui" in folders

    for file in (ROOT / "tests").rglob("test_*.py"):
        text = file.read_text(encoding="utf-8")
        path = file.relative_to(ROOT).as_posix()
        if _MARKS.search(text) and not any(path.startswith(f"{folder}/") for folder in folders):
            marks = _MARKS.findall(text)
            assert text.count("pytest.mark.slow") >= len(marks), (
                f"{path} has tests that make test does not run: mark them slow, or name their folder in the "
                "Makefile"
            )
