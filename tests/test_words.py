"""Retired words do not return: each has a standard term in STYLE's table and no second meaning here."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RETIRED = {
    "Admission control": ("Door", "InWork", "lease_of", "turned away", "let in"),
    "Batching and coalescing": (
        "Bundles?",
        "bundle_from",
        "step_back",
        "load_apart",
        "HELD_BATCHES",
        "lonely",
    ),
    "Model clients": ("ServeStages", "Stages", "FullStageError", "FullReplicaError", "face stage"),
    "Errors and time limits": ("trouble", "PATIENCE", "PATIENCE_S", "GIVE_UP_S"),
    "int8 quantization": ("8 bits", "eight bits", "IntegerTrunk", "runs_here"),
    "Network parts": (r"trunk(?!\.)", "heat maps?", "skin places", "calm share"),
    "Training": (
        "Lesson",
        "lessons",
        "Team",
        "first weights",
        "lone_trainer",
        "practi[sc]ed",
        "by lot",
        "by heart",
    ),
    "Evaluation": ("Judged", r"(?<!\")judges?", "judged", "judge by", "flatters"),
    "Faces": ("FaceCutter", "FaceFinder", "face finder"),
    "Benchmarks": ("peers", "calm", "by turns"),
    "Relative clauses as subjects": ("who computes", "what is told", "those that are let in", "who answers"),
}
TEXT = {".py", ".md", ".yaml", ".toml", ".html", ".jinja", ".css", ".js", ".sh", ""}
EXEMPT = {"CHANGELOG.md", "tests/test_words.py"}


def tracked_texts() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = [
        name for name in listed.splitlines() if name not in EXEMPT and not name.startswith("bench/results/")
    ]
    return [path for name in names if (path := ROOT / name).suffix in TEXT and path.is_file()]


@pytest.mark.parametrize("topic", RETIRED)
def test_retired_words_are_in_no_tracked_text(topic: str):
    word = re.compile(rf"(?<![A-Za-z])(?:{'|'.join(RETIRED[topic])})(?![A-Za-z])")

    found = [
        f"{path.relative_to(ROOT)}:{number}: {match.group()}"
        for path in tracked_texts()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        for match in word.finditer(line)
    ]

    assert found == []
