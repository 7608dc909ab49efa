import re

import pytest

from models.diagnoses import DIAGNOSES
from serve.lesion.schemas import DiagnosisScore
from serve.schemas import DISCLAIMER, Reason
from ui.preview import Preview
from ui.tabs.diagnosis_texts import DIAGNOSIS_TEXTS
from ui.tabs.lesion_result import lesion_card, lesion_photo

PHOTO = Preview(data_uri="data:image/jpeg;base64,AAAA", width_px=400, height_px=300)


def words_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def test_every_diagnosis_of_the_taxonomy_is_explained_in_two_sentences():
    assert set(DIAGNOSIS_TEXTS) == {diagnosis.name for diagnosis in DIAGNOSES}
    for text in DIAGNOSIS_TEXTS.values():
        assert len(re.findall(r"[.](?: |$)", text)) == 2


@pytest.mark.parametrize(("malignant", "headline"), [(0.12, "Looks benign"), (0.78, "Looks malignant")])
def test_the_verdict_stands_in_words_and_shape_with_its_probability_and_the_disclaimer(
    make_lesion_answer, malignant, headline
):
    html = lesion_card(make_lesion_answer(malignant=malignant))

    assert headline in html
    assert f"{malignant:.0%} probability that it is malignant" in words_of(html)
    assert DISCLAIMER in html
    assert html.index('<svg class="icon"') < html.index(headline)


def test_the_verdict_and_its_percentages_agree_close_to_the_threshold(make_lesion_answer):
    answer = make_lesion_answer(malignant=0.3496)

    words = words_of(lesion_card(answer))

    assert "Looks benign 34% probability that it is malignant malignant from 35%" in words


def test_a_named_diagnosis_is_explained(make_lesion_answer):
    html = lesion_card(make_lesion_answer())

    assert "Most likely: Nevus" in html
    assert "More information" in html and DIAGNOSIS_TEXTS["Nevus"] in html


def test_a_named_diagnosis_that_is_not_the_first_bar_says_of_which_group_it_is_the_first(make_lesion_answer):
    scores = (("Melanoma", "malignant", 0.4), ("Nevus", "benign", 0.35), ("Scar", "benign", 0.2))

    assert "Most likely benign diagnosis: Nevus" in lesion_card(make_lesion_answer(scores=scores))


def test_without_a_diagnosis_the_card_says_so_and_names_none(make_lesion_answer):
    html = lesion_card(make_lesion_answer(named=False))

    assert "No diagnosis is certain enough" in html
    assert "Most likely" not in html and DIAGNOSIS_TEXTS["Nevus"] not in html


def test_every_bar_carries_its_group_in_words(make_lesion_answer):
    bars = re.findall(r"<li>.*?</li>", lesion_card(make_lesion_answer()), flags=re.DOTALL)

    assert len(bars) == 7
    assert words_of(bars[0]) == "Nevus benign 62%"
    assert words_of(bars[1]) == "Melanoma malignant 16%"


def test_a_disagreement_of_the_two_outputs_is_shown(make_lesion_answer):
    scores = (("Melanoma", "malignant", 0.6), ("Nevus", "benign", 0.3))

    assert "disagree" in lesion_card(make_lesion_answer(malignant=0.3, scores=scores))
    assert "disagree" not in lesion_card(make_lesion_answer(malignant=0.3))


def test_names_from_the_api_are_escaped(make_lesion_answer):
    answer = make_lesion_answer()
    odd = DiagnosisScore(name="<script>x</script>", group="benign", probability=0.9)

    html = lesion_card(answer.model_copy(update={"diagnosis": odd, "diagnoses": [odd]}))

    assert "<script>" not in html and "&lt;script&gt;" in html


def test_the_grad_cam_map_covers_the_central_square(make_lesion_answer):
    html = lesion_photo(PHOTO, make_lesion_answer().model_copy(update={"heatmap_png": "PNG"}))

    assert 'style="left:12.5%;top:0%;width:75%;height:100%"' in html
    assert "Where the network looked" in html and "data:image/png;base64,PNG" in html
    assert "the dimmed margins are not used" in html


def test_a_square_photo_has_no_margins_and_no_switch_without_a_grad_cam_map(make_lesion_answer):
    answer = make_lesion_answer().model_copy(update={"heatmap_png": None})

    html = lesion_photo(Preview(data_uri="data:,", width_px=300, height_px=300), answer)

    assert "margins" not in html and "Where the network looked" not in html


def test_a_photo_that_cannot_be_shown_is_not_an_error(make_lesion_answer):
    assert "cannot be shown here, but" in lesion_photo(None, make_lesion_answer())


def test_an_inconclusive_answer_has_its_reason_and_advice_but_no_probability_diagnosis_or_tick(
    make_inconclusive_answer,
):
    html = lesion_card(make_inconclusive_answer())
    words = words_of(html)

    assert "Inconclusive" in words and 'data-verdict="inconclusive"' in html
    assert "The photo has 20 x 20 pixels, at least 32 x 32 are needed; send the original photo." in words
    assert "Take a sharp photo in good light" in words
    assert "An inconclusive result does not mean benign." in words
    assert DISCLAIMER in html and 'role="status"' in html
    assert "%" not in words and "bars" not in html and "Looks" not in words
    assert "M8 12.4" not in html, "the tick of benign"


def test_the_photo_of_an_inconclusive_answer_has_no_grad_cam_map_and_no_margins(make_inconclusive_answer):
    html = lesion_photo(PHOTO, make_inconclusive_answer())

    assert PHOTO.data_uri in html
    assert "Where the network looked" not in html and "central square" not in html


def test_the_reasons_of_a_weak_answer_are_shown(make_lesion_answer):
    weak = Reason(code="too_dark", message="the photo is dark; take it again in daylight")

    words = words_of(lesion_card(make_lesion_answer().model_copy(update={"reasons": [weak]})))

    assert "Looks benign" in words and "The photo is dark; take it again in daylight." in words
