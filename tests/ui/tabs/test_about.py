import re

import pytest

from models.metrics import TaskMetrics
from serve.schemas import LoadedModel
from ui.tabs.about import api_section, model_cards, models_section


@pytest.fixture
def words(models: list[LoadedModel]) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", models_section(models)).split())


def test_the_networks_stand_with_their_metrics_and_intervals(words: str):
    assert "lesion-reference, version 1" in words and "progress-reference, version 1" in words
    assert "Measured on 1,203 samples: validation, grouped by lesion" in words
    assert "Benign or malignant Sensitivity 0.87 (95% interval 0.81 to 0.92, n 134)" in words
    assert "Diagnosis Balanced accuracy 0.47 (95% interval 0.43 to 0.51)" in words
    assert "Recall of Nevus 0.81 (n 612)" in words
    assert "Improved or worsened Balanced accuracy 0.96 (95% interval 0.94 to 0.97)" in words
    assert "Recall of worsened not defined" in words


def test_internal_measurements_stay_in_the_model_card(words: str):
    assert "engines" not in words and "True" not in words and "p01" not in words


def test_the_api_section_names_the_address_that_the_browser_used():
    html = api_section("https://skin.example:8443/skin")

    assert "curl -F file=@lesion.jpg https://skin.example:8443/skin/v1/lesion" in html
    assert 'href="../docs"' in html


def test_a_third_task_is_listed_by_its_name_and_with_its_model_card(models: list[LoadedModel]):
    wound = models[0].model_copy(
        update={"kind": "wound", "name": "wound-toy", "metrics": TaskMetrics(), "model_card": "# Wound\n"}
    )

    html, cards = models_section([*models, wound]), model_cards([*models, wound])

    assert html.count('class="card model"') == 3 and "<h4>wound-toy</h4>" in html
    assert cards.count("<summary>Model card: ") == 3 and "\n\n# Wound\n" in cards
