import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ui.tabs.diagnosis_drawings import _DRAWINGS, DIAGNOSIS_SIGNS, diagnosis_drawing

LABELS = json.loads((Path(__file__).parents[3] / "weights/lesion/meta.json").read_text(encoding="utf-8"))[
    "labels"
]


def test_every_diagnosis_of_the_released_network_has_a_drawing_and_its_signs():
    assert set(LABELS) <= set(DIAGNOSIS_SIGNS) == set(_DRAWINGS)


@pytest.mark.parametrize("name", DIAGNOSIS_SIGNS)
def test_a_drawing_is_valid_svg_without_links_and_the_same_every_time(name: str):
    svg = diagnosis_drawing(name)
    diagnosis_drawing.cache_clear()

    assert svg is not None and svg == diagnosis_drawing(name)
    assert len(svg) < 6000
    tags = {element.tag for element in ElementTree.fromstring(svg).iter()}
    assert tags <= {"svg", "rect", "path", "circle", "g"}


def test_a_diagnosis_without_a_drawing_has_none():
    assert diagnosis_drawing("Scar") is None
