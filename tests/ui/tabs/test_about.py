import re

import pytest

from models.lesion.metrics import LesionVerdictMetrics
from models.metrics import Metric, TaskMetrics
from serve.schemas import Gate, LoadedModel
from ui.tabs.about import about_models, about_tab


@pytest.fixture
def words(models: list[LoadedModel]) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", about_models(models, "en")).split())


def test_the_networks_stand_with_their_metrics_and_intervals(words: str):
    assert "lesion-reference, version 1" in words and "progress-reference, version 1" in words
    assert "Measured on 1,203 samples: validation, grouped by lesion" in words
    assert "Benign or malignant Sensitivity 0.87 (95% interval 0.81 to 0.92, n 134)" in words
    assert "Diagnosis Balanced accuracy 0.47 (95% interval 0.43 to 0.51)" in words
    assert "Recall of Nevus 0.81 (n 612)" in words
    balanced_accuracy = "Balanced accuracy, people resampled 0.96 (95% interval 0.92 to 0.98)"
    assert f"Improved or worsened, at probability 0.5 {balanced_accuracy}" in words
    assert "Recall of worsened not defined" in words


def test_the_verdicts_on_a_series_stand_with_thresholds_and_false_calls(
    models: list[LoadedModel], words: str
):
    old = models[1].model_copy(update={"thresholds": {"improved": 0.5}})

    assert (
        "Possible answers improved from a probability of improvement of 0.663, worsened from a probability "
        "of worsening of 0.663, no clear change in between; inconclusive if the photos show different people"
    ) in words
    assert (
        "Series without a change called improved or worsened Unchanged photos of one person 0.09 (95% "
        "interval 0.02 to 0.18, n 360)"
    ) in words
    assert "altered_blur" not in words and "0.0917" not in words
    assert "Possible answers worsened" not in words and "Diagnoses Nevus, Melanoma" in words
    without_third = about_models([old], "en")
    assert "of 0.5, worsened below it; inconclusive if" in without_third
    assert "no clear change" not in without_third


def test_internal_measurements_stay_in_the_model_card(words: str):
    assert "engines" not in words and "True" not in words and "p01" not in words


def test_the_tab_has_a_part_for_patients_before_that_for_engineers():
    html = about_tab("en")

    for_you, for_engineers = html.split('id="about-engineers"')
    assert "For you" in for_you and "written to a disk only if you send it as feedback" in for_you
    assert "/v1/lesion" in for_engineers and 'href="../docs"' in for_engineers
    assert not re.search(r"AUROC|network|HTTP|threshold|sensitivity", for_you)


def test_patients_are_told_how_often_it_is_wrong(models: list[LoadedModel]):
    for_you = about_models(models, "en").partition('data-part="engineers"')[0]

    assert "How often it is wrong" in for_you
    assert "Of 100 malignant lesions in the validation photos, 13 were called benign." in for_you
    assert "How often" not in about_models(models[1:], "en")


def test_a_model_card_is_rendered_and_its_html_is_text(models: list[LoadedModel]):
    card = "# Card\n\n| a | b |\n|---|---|\n| 1 | <script>x</script> |\n\n[x](javascript:alert(1))"

    html = about_models([models[0].model_copy(update={"model_card": card})], "en")

    assert "<td>1</td>" in html and "&lt;script&gt;x" in html
    assert "<script" not in html and 'href="javascript' not in html


def test_a_third_task_is_listed_by_its_name_and_with_its_model_card(models: list[LoadedModel]):
    wound = models[0].model_copy(
        update={"kind": "wound", "name": "wound-toy", "metrics": TaskMetrics(), "model_card": "# Wound\n"}
    )

    html = about_models([*models, wound], "en")

    assert html.count('class="card model"') == 3 and "<h4>wound-toy <span" in html
    assert html.count("<summary>Model card: ") == 3 and "<h4>Wound</h4>" in html


def test_the_gate_and_both_thresholds_of_a_lesion_network_are_shown(models: list[LoadedModel]):
    gate = Gate(
        min_scope=0.2,
        min_skin=0.1,
        min_lesion=0.1,
        min_box_px=40,
        min_sharpness=0.3,
        false_rejections={"pad_ufes_20": Metric(value=0.04, low=0.02, high=0.08, n=250)},
        localizer_sha256="ab" * 32,
    )
    gated = models[0].model_copy(update={"gate": gate, "thresholds": {"benign": 0.06, "malignant": 0.15}})

    words = " ".join(re.sub(r"<[^>]*>", " ", about_models([gated], "en")).split())

    assert "benign below a probability of 0.06, malignant from 0.15, inconclusive in between" in words
    assert "Gate rejects photos that do not look like skin" in words
    rejected = "PAD-UFES-20 (phones) 0.04 (95% interval 0.02 to 0.08, n 250)"
    assert f"Lesion photos that the gate rejects, validation set {rejected}" in words


def test_a_network_without_a_gate_says_so(words: str):
    assert "benign below a probability of 0.35, malignant from 0.35 Gate none: every photo" in words
    assert "that the gate rejects" not in words and "get a verdict, test set" not in words


def test_the_errors_of_the_verdicts_on_the_test_set_are_shown(models: list[LoadedModel]):
    verdicts = LesionVerdictMetrics(
        n=100,
        num_malignant=40,
        called_benign=Metric(value=0.05),
        called_malignant=Metric(value=0.11),
        inconclusive=Metric(value=0.21),
        not_usable=Metric(value=0.02),
    )
    without_lesion = {"bare skin": Metric(value=0.01), "not_skin": Metric(value=0.02)}
    metrics = models[0].metrics.model_copy(
        update={"verdicts": {"all": verdicts}, "verdicts_without_lesion": without_lesion}
    )

    html = about_models([models[0].model_copy(update={"metrics": metrics})], "en")
    words = " ".join(re.sub(r"<[^>]*>", " ", html).split())

    assert "Malignant lesions called benign, test set All photos 0.05" in words
    assert "Benign lesions called malignant, test set All photos 0.11" in words
    assert "Inconclusive for any reason, test set All photos 0.21" in words
    shares = "Bare skin beside lesions 0.01 Objects and scenes 0.02"
    assert f"Pictures without a lesion that get a verdict, test set {shares}" in words


def test_metrics_are_in_the_language_of_the_page_and_texts_of_the_checkpoint_in_english(
    models: list[LoadedModel],
):
    html = about_models(models, "de")
    words = " ".join(re.sub(r"<[^>]*>", " ", html).split())

    assert "Sensitivität 0,87 (95 %-Intervall 0,81 bis 0,92, n 134)" in words
    assert "Trefferquote (Recall): Nävus 0,81 (n 612)" in words
    assert '<dd lang="en" dir="ltr">HAM10000, 5,984 dermoscopic photos</dd>' in html
