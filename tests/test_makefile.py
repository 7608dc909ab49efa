"""``make test`` runs every test that is not slow."""

import ast
import re
from pathlib import Path

from tests.conftest import ROOT

_PROCESS_MARK = re.compile(r"mark\.(server|browser|cluster)\b")


def _unselected_tests(file: Path) -> list[str]:
    """Return the tests of a file, or the file, that are marked server, browser or cluster and not slow."""
    found: list[str] = []
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark":
            name, marks = file.name, ast.unparse(node.value)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            name, marks = node.name, " ".join(map(ast.unparse, node.decorator_list))
        else:
            continue
        if _PROCESS_MARK.search(marks) and "mark.slow" not in marks:
            found.append(name)
    return found


def test_tests_that_start_processes_are_in_the_folders_that_make_test_names():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    folders = {folder for line in re.findall(r"-m '\$\(STARTS\)' (.*)", makefile) for folder in line.split()}
    assert "tests/e2e" in folders and "tests/ui" in folders

    missing = {
        path: tests
        for file in sorted((ROOT / "tests").rglob("test_*.py"))
        if not any((path := file.relative_to(ROOT).as_posix()).startswith(f"{one}/") for one in folders)
        and (tests := _unselected_tests(file))
    }

    assert missing == {}, "mark them slow, or name their folder in the Makefile"
