import re
from itertools import pairwise

import pytest

from models.diagnoses import DIAGNOSES
from serve.schemas import DISCLAIMER, Box, DiagnosisScore, FoundFace
from ui.client import ApiError
from ui.error_card import trouble_card
from ui.html_parts import error_card, percent
from ui.preview import Preview
from ui.tabs.about import api_section, models_section
from ui.tabs.diagnosis_texts import WHAT_IT_IS
from ui.tabs.lesion_result import lesion_card, photo_stage
from ui.tabs.progress_plot import progress_plot
from ui.tabs.progress_result import progress_card

PHOTO = Preview(data_uri="data:image/jpeg;base64,AAAA", width_px=400, height_px=300)


def words_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


@pytest.mark.parametrize(
    ("probability", "text"), [(0, "&lt;1%"), (0.014, "1%"), (0.5, "50%"), (0.99, "99%"), (0.999, "&gt;99%")]
)
def test_a_probability_never_claims_certainty(probability, text):
    assert percent(probability) == text


@pytest.mark.parametrize(
    ("probability", "limit", "text"),
    [
        (0.4996, 0.5, "49%"),
        (0.5, 0.5, "50%"),
        (0.5004, 0.5, "50%"),
        (0.5496, 0.55, "54%"),
        (0.55, 0.55, "55%"),
        (0.353, 0.354, "35%"),
        (0.354, 0.354, "36%"),
        (0.3541, 0.354, "36%"),
        (0.002, 0.5, "&lt;1%"),
    ],
)
def test_rounding_never_carries_a_probability_over_the_limit_of_a_verdict(probability, limit, text):
    assert percent(probability, limit=limit) == text


def test_every_diagnosis_of_the_taxonomy_is_explained_in_two_sentences():
    assert set(WHAT_IT_IS) == {diagnosis.name for diagnosis in DIAGNOSES}
    for text in WHAT_IT_IS.values():
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


def test_the_verdict_and_the_figures_beside_it_agree_close_to_the_threshold(make_lesion_answer):
    answer = make_lesion_answer(malignant=0.3496)

    words = words_of(lesion_card(answer))

    assert "Looks benign 34% probability that it is malignant malignant from 35%" in words


def test_a_named_diagnosis_is_explained(make_lesion_answer):
    html = lesion_card(make_lesion_answer())

    assert "Most likely: Nevus" in html
    assert "More information" in html and WHAT_IT_IS["Nevus"] in html


def test_a_named_diagnosis_that_is_not_the_first_bar_says_of_which_group_it_is_the_first(make_lesion_answer):
    scores = (("Melanoma", "malignant", 0.4), ("Nevus", "benign", 0.35), ("Scar", "benign", 0.2))

    assert "Most likely benign diagnosis: Nevus" in lesion_card(make_lesion_answer(scores=scores))


def test_an_unsure_network_says_so_and_names_nothing(make_lesion_answer):
    html = lesion_card(make_lesion_answer(named=False))

    assert "Not sure enough to name it" in html
    assert "Most likely" not in html and WHAT_IT_IS["Nevus"] not in html


def test_every_bar_carries_its_group_in_words(make_lesion_answer):
    bars = re.findall(r"<li>.*?</li>", lesion_card(make_lesion_answer()))

    assert len(bars) == 7
    assert words_of(bars[0]) == "Nevus benign 62%"
    assert words_of(bars[1]) == "Melanoma malignant 16%"


def test_heads_that_disagree_are_pointed_out(make_lesion_answer):
    scores = (("Melanoma", "malignant", 0.6), ("Nevus", "benign", 0.3))

    assert "disagree" in lesion_card(make_lesion_answer(malignant=0.3, scores=scores))
    assert "disagree" not in lesion_card(make_lesion_answer(malignant=0.3))


def test_names_from_the_api_are_escaped(make_lesion_answer):
    answer = make_lesion_answer()
    odd = DiagnosisScore(name="<script>x</script>", group="benign", probability=0.9)

    html = lesion_card(answer.model_copy(update={"diagnosis": odd, "diagnoses": [odd]}))

    assert "<script>" not in html and "&lt;script&gt;" in html


def test_the_heat_map_covers_the_central_square():
    html = photo_stage(PHOTO, "PNG")

    assert 'style="left:12.500%;top:0.000%;width:75.000%;height:100.000%"' in html
    assert "Where it looked" in html and "data:image/png;base64,PNG" in html
    assert "the dimmed part is left out" in html


def test_a_square_photo_has_nothing_left_out_and_no_switch_without_a_heat_map():
    html = photo_stage(Preview(data_uri="data:,", width_px=300, height_px=300), None)

    assert "left out" not in html and "Where it looked" not in html


def test_a_photo_that_cannot_be_shown_is_no_error():
    assert "cannot be shown" in photo_stage(None, "PNG")


@pytest.mark.parametrize(("improved", "headline"), [(0.83, "Improved"), (0.21, "Worsened")])
def test_progress_shows_the_verdict_with_both_probabilities_and_the_disclaimer(
    make_progress_answer, improved, headline
):
    html = progress_card(make_progress_answer(5, improved=improved), [PHOTO] * 5)

    assert f"<h3>{headline}</h3>" in html
    assert f"{improved:.0%} improved {1 - improved:.0%} worsened" in words_of(html)
    assert DISCLAIMER in html


def test_progress_near_one_half_is_called_no_clear_change(make_progress_answer):
    assert "no clear change" in progress_card(make_progress_answer(2, improved=0.45), [None] * 2)
    assert "no clear change" not in progress_card(make_progress_answer(2, improved=0.35), [None] * 2)


@pytest.mark.parametrize(
    ("improved", "words"),
    [
        (0.4996, "Worsened The two are close: the photos show no clear change. 49% improved 51% worsened"),
        (0.5, "Improved The two are close: the photos show no clear change. 50% improved 50% worsened"),
        (0.625, "62% improved 38% worsened"),
        (0.004, "&lt;1% improved &gt;99% worsened"),
    ],
)
def test_the_two_probabilities_agree_with_the_verdict_and_make_a_whole(make_progress_answer, improved, words):
    assert words in words_of(progress_card(make_progress_answer(2, improved=improved), [None] * 2))


def test_photos_stand_in_the_order_of_the_answer_and_those_without_a_face_are_marked(make_progress_answer):
    answer = make_progress_answer(3, without_face=(1,))
    answer = answer.model_copy(update={"photos": answer.photos[::-1], "order": "exif"})
    previews = [Preview(data_uri=f"data:{n}", width_px=480, height_px=480) for n in "abc"]

    html = progress_card(answer, previews)
    tiles = re.findall(r'<li class="[^"]*">.*?</li>', html)

    assert [re.findall(r"data:(\w)", tile) for tile in tiles] == [["c"], ["b"], ["a"]]
    assert "no face found: left out" in tiles[1] and "face-box" not in tiles[1]
    assert "face found" in tiles[0] and "face-box" in tiles[0]
    assert "as the photos themselves say" in html
    assert "1 has no face in view" in html


def test_the_box_of_a_face_is_drawn_in_parts_of_the_photo_and_never_beyond_it(make_progress_answer):
    answer = make_progress_answer(2)
    face = FoundFace(box=Box(left=-20, top=30, right=200, bottom=330), confidence=1)
    first = answer.photos[0].model_copy(update={"face": face})

    html = progress_card(answer.model_copy(update={"photos": [first, answer.photos[1]]}), [PHOTO] * 2)

    assert "left:0.00%;top:10.00%;width:50.00%;height:90.00%" in html


def test_the_plot_has_a_dot_for_every_probability_and_the_line_at_one_half():
    drawings = progress_plot([None, 0.6, None, 0.4]).split("</svg>")[:2]

    for drawing in drawings:
        assert drawing.count("<circle") == 2
        assert drawing.count('class="dot improved"') == 1
        assert drawing.count('class="half"') == 1
        assert "photo 2 60%, photo 4 40%" in drawing


def test_the_numbers_under_the_plot_of_thirty_photos_do_not_touch():
    wide, narrow, _ = progress_plot([0.5] * 30).split("</svg>")

    for drawing in (wide, narrow):
        x = [float(x) for x in re.findall(r'<text x="([\d.]+)" text-anchor="middle"', drawing)]
        assert len(x) >= 5
        assert min(b - a for a, b in pairwise(x)) >= 22


def test_an_error_says_what_to_do_and_is_escaped():
    html = error_card("no_face", "No <b>face</b>. Send others.")

    assert 'role="alert"' in html and "No face was found" in html
    assert "No &lt;b&gt;face&lt;/b&gt;. Send others." in html


def test_trouble_that_nobody_expected_shows_no_traceback_and_logs_no_names(caplog):
    name = "-".join(["anna", "smith.jpg"])
    try:
        raise OSError(2, "No such file", name)
    except OSError as error:
        html = trouble_card(error)

    assert "Something went wrong" in html and "Traceback" not in html
    assert "FileNotFoundError" in caplog.text and "anna-smith" not in caplog.text


def test_trouble_with_the_api_shows_its_sentence():
    html = trouble_card(ApiError("overloaded", "The server is busy. Try again in 2 s."))

    assert 'data-code="overloaded"' in html and "Try again in 2 s." in html


def test_the_models_stand_with_their_figures_and_intervals(models):
    words = words_of(models_section(models))

    assert "lesion-reference, version 1" in words and "progress-reference, version 1" in words
    assert "Diagnosis: balanced accuracy 0.47 (0.43 to 0.51)" in words
    assert "Diagnosis: recall of Nevus 0.812, n = 612" in words
    assert "person" not in words and "p01" not in words


def test_programs_are_told_the_address_that_the_browser_used():
    html = api_section("https://skin.example:8443")

    assert "curl -F file=@spot.jpg https://skin.example:8443/v1/lesion" in html
    assert 'href="/docs"' in html
