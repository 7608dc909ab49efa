"""README and docs keep their promises: links lead somewhere, commands and routes exist, figures are true."""

import json
import re
from pathlib import Path

import pytest

from models.checkpoint import read_meta
from models.lesion.metrics import LesionMetrics
from models.progress.metrics import ProgressMetrics

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("weights/*/*.md")])
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere_and_nothing_was_left_to_fill_in(document: Path):
    text = document.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?://)([^)#]+)\)", text)

    assert [link for link in links if not (document.parent / link).exists()] == []
    assert "@@" not in text and "TODO" not in text


def test_every_path_of_the_contributing_guide_exists():
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    folders = "bench|cli|deploy|docs|models|samples|scripts|serve|tests|train|ui|weights"
    named = re.findall(rf"`((?:{folders})/[^`]*)`", guide)

    assert len(named) > 30
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_make_target_of_the_readme_exists():
    named = set(re.findall(r"^make (\w+)", README, re.MULTILINE))
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    assert {"serve", "test"} <= named <= targets


def test_every_route_of_the_readme_exists():
    routes = json.loads((ROOT / "tests/serve/openapi.json").read_text())["paths"].keys()
    asked = re.findall(r"127\.0\.0\.1:8000(/v1[\w/]*)", README)

    assert asked and set(asked) <= routes


def test_the_figures_of_the_readme_are_those_of_the_checkpoints():
    lesion, progress = (read_meta(ROOT / "weights" / name).metrics for name in ("lesion", "progress"))
    assert isinstance(lesion, LesionMetrics) and isinstance(progress, ProgressMetrics)
    metrics = [
        lesion.diagnosis.balanced_accuracy,
        lesion.diagnosis.macro_auroc,
        lesion.risk.auroc,
        lesion.silent_misses["all"],
        lesion.degraded_inconclusive["all"],
        lesion.verdicts_without_lesion["bare skin"],
        progress.balanced_accuracy_over_people,
    ]
    for source in ("ham10000", "isic2018_val", "isic_msk", "pad_ufes_20"):
        verdicts, network = lesion.verdicts[source], lesion.test_by_source[source]
        metrics += [verdicts.called_benign, verdicts.called_malignant, verdicts.inconclusive]
        metrics += [network.auroc, network.balanced_accuracy]

    for metric in metrics:
        assert metric.with_interval() in README
