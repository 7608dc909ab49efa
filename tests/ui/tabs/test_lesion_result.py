import re
from typing import get_args

import pytest

from models.diagnoses import DIAGNOSES
from models.photo_quality import ProblemCode
from serve.lesion.schemas import DiagnosisScore, LesionAnswer
from serve.schemas import DISCLAIMER
from ui.tabs.diagnosis_texts import DIAGNOSIS_TEXTS
from ui.tabs.lesion_result import lesion_fragment, odds_of, scale_texts
from ui.tabs.reason_texts import NOT_USABLE
from ui.tabs.verdict_errors import VerdictErrors, verdict_errors

TICK = "M8 12.4"
"""Start of the tick in the icon of benign."""


def _number(text: str) -> float:
    """Return the number of a text such as "<1%", a little less than 1%."""
    return float(text.strip("<>%")) / 100 - 0.0001 * text.startswith("<") + 0.0001 * text.startswith(">")


def lesion_card(answer: LesionAnswer, errors: VerdictErrors | None = None) -> str:
    return lesion_fragment(answer, errors, "en").partition('<div data-part="answer">')[2]


def lesion_photo(answer: LesionAnswer) -> str:
    return lesion_fragment(answer, None, "en").partition('<div data-part="answer">')[0]


def words_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def test_every_diagnosis_of_the_taxonomy_is_explained_in_two_sentences():
    assert set(DIAGNOSIS_TEXTS) == {diagnosis.name for diagnosis in DIAGNOSES}
    for text in DIAGNOSIS_TEXTS.values():
        assert len(re.findall(r"[.](?: |$)", text)) == 2


@pytest.mark.parametrize(("malignant", "headline"), [(0.12, "Looks benign"), (0.78, "Have it checked")])
def test_the_verdict_stands_in_words_and_shape_with_its_probability_and_the_disclaimer(
    make_lesion_answer, malignant, headline
):
    html = lesion_card(make_lesion_answer(malignant=malignant))

    assert headline in html
    assert f"{malignant:.0%} probability that it is malignant" in words_of(html)
    assert DISCLAIMER in html
    assert html.index('<svg class="icon"') < html.index(headline)


@pytest.mark.parametrize(
    ("malignant", "benign_threshold", "risk", "scale"),
    [
        (0.3496, 0.35, "Low risk: 34%", "looks benign below 35% have it checked from 35%"),
        (
            0.1204,
            0.121,
            "Low risk: 12%",
            "looks benign below 13% inconclusive in between have it checked from",
        ),
        (
            0.1211,
            0.121,
            "Medium risk: 13%",
            "looks benign below 13% inconclusive in between have",
        ),
        (0.3499, 0.121, "Medium risk: 34%", "in between have it checked from 35%"),
        (0.35, 0.121, "High risk: 35%", "in between have it checked from 35%"),
        (
            0.3461,
            0.346,
            "Medium risk: 34.6%",
            "looks benign below 34.6% inconclusive in between have",
        ),
        (0.0049, 0.005, "Low risk: 0.4%", "looks benign below 0.5% inconclusive in between have"),
        (0.2, 0.0, "Medium risk: 20%", "malignant inconclusive in between have it checked from 35%"),
    ],
)
def test_rounded_percentages_never_contradict_the_verdict(
    make_lesion_answer, malignant, benign_threshold, risk, scale
):
    answer = make_lesion_answer(malignant=malignant, benign_threshold=benign_threshold)

    words = words_of(lesion_card(answer))

    assert f"{risk} probability that it is malignant" in words
    assert scale in words


@pytest.mark.parametrize(("low", "high"), [(0.35, 0.35), (0.06, 0.35), (0.349, 0.35), (0.002, 0.35)])
def test_texts_of_the_scale_keep_the_order_of_the_numbers(make_lesion_answer, low, high):
    answer = make_lesion_answer(benign_threshold=low)
    for thousandths in range(0, 1001):
        p = thousandths / 1000
        scale = scale_texts(answer.model_copy(update={"malignant_probability": p}))
        shown, benign_below, malignant_from = (_number(text) for text in scale)

        assert (shown < benign_below) == (p < low), (p, scale)
        assert (shown >= malignant_from) == (p >= high), (p, scale)
        assert abs(shown - p) <= 0.0101


def test_the_gauge_has_its_zones_at_both_thresholds(make_lesion_answer):
    html = lesion_card(make_lesion_answer(benign_threshold=0.125))

    assert "--benign-below:12.5%;--malignant-from:35%" in html


def test_a_named_diagnosis_is_explained(make_lesion_answer):
    html = lesion_card(make_lesion_answer())

    assert "Most likely: Nevus" in html
    assert "More information" in html and DIAGNOSIS_TEXTS["Nevus"] in html


def test_a_named_diagnosis_that_is_not_the_first_bar_says_of_which_group_it_is_the_first(make_lesion_answer):
    scores = (("Melanoma", "malignant", 0.4), ("Nevus", "benign", 0.35), ("Scar", "benign", 0.2))

    assert "Most likely benign diagnosis: Nevus" in lesion_card(make_lesion_answer(scores=scores))


def test_a_rare_diagnosis_is_named_with_the_more_probable_one_beside_it(make_lesion_answer):
    scores = (("Dermatofibroma", "benign", 0.13), ("Melanoma", "malignant", 0.14), ("Nevus", "benign", 0.73))

    html = lesion_card(make_lesion_answer(scores=scores))

    words = words_of(html)
    assert "Suggested benign diagnosis: Dermatofibroma" in words and "Most likely" not in words
    assert "Nevus is more probable (73%), but also more frequent in the training photos." in words
    assert re.findall(r'bar-name">(\w+)', html) == ["Nevus", "Melanoma", "Dermatofibroma"]


def test_without_a_diagnosis_the_card_says_so_and_names_none(make_lesion_answer):
    html = lesion_card(make_lesion_answer(named=False))

    assert "No diagnosis is certain enough" in html
    assert "Most likely" not in html and DIAGNOSIS_TEXTS["Nevus"] not in html


def test_every_bar_carries_its_group_in_words(make_lesion_answer):
    _, _, html = lesion_card(make_lesion_answer()).partition('<ol class="bars">')
    bars = re.findall(r"<li>.*?</li>", html.partition("</ol>")[0], flags=re.DOTALL)

    assert len(bars) == 7
    assert words_of(bars[0]) == "Nevus benign 62%"
    assert words_of(bars[1]) == "Melanoma malignant 16%"


def test_the_named_and_the_most_probable_diagnoses_are_drawn_with_their_signs(make_lesion_answer):
    html = lesion_card(make_lesion_answer(malignant=0.8))
    _, _, drawings = html.partition('<ul class="drawings">')

    names = re.findall(r"<b>([^<]*)\.</b>", drawings.partition("</ul>")[0])
    assert names == ["Melanoma", "Nevus", "Pigmented Benign Keratosis"]
    assert drawings.partition("</ul>")[0].count("<svg") == 3


@pytest.mark.parametrize("usable", [True, False])
def test_every_answer_says_what_a_photo_cannot_show_and_what_to_look_for(
    make_lesion_answer, make_not_usable_answer, usable
):
    words = words_of(lesion_card(make_lesion_answer() if usable else make_not_usable_answer()))

    assert "Asymmetry: one half is unlike the other." in words
    assert "The network sees one photo." in words


def test_a_disagreement_of_the_two_outputs_is_shown(make_lesion_answer):
    scores = (("Melanoma", "malignant", 0.6), ("Nevus", "benign", 0.3))

    page, _, report = lesion_card(make_lesion_answer(malignant=0.3, scores=scores)).partition("data-report")
    assert "network disagree" in page and "network disagree" in report
    assert "network disagree" not in lesion_card(make_lesion_answer(malignant=0.3))


def test_names_from_the_api_are_escaped(make_lesion_answer):
    answer = make_lesion_answer()
    odd = DiagnosisScore(name="<script>x</script>", group="benign", probability=0.9)

    html = lesion_card(answer.model_copy(update={"diagnosis": odd, "diagnoses": [odd]}))

    assert "<script>" not in html and "&lt;script&gt;" in html


def test_the_grad_cam_map_covers_the_crop_and_the_frame_the_lesion(make_lesion_answer):
    answer = make_lesion_answer().model_copy(
        update={"heatmap_png": "PNG", "lesion_box": (100, 60, 200, 120), "crop_box": (60, 0, 300, 240)}
    )

    html = lesion_photo(answer)

    assert 'src="data:image/png;base64,PNG" data-box="60,0,300,240"' in html
    assert '<span class="seen" data-box="60,0,300,240">' in html
    assert '<span class="lesion-box" data-box="100,60,200,120">' in html
    assert "The frame marks the lesion that was found." in words_of(html)
    assert "The network reads the bright square, not the dimmed rest." in words_of(html)


@pytest.mark.parametrize(
    ("lesion_box", "is_cut"),
    [((40, 30, 100, 120), False), ((10, 30, 150, 120), False), ((4, 30, 120, 120), True), (None, False)],
)
def test_a_lesion_that_the_network_sees_in_part_is_reported(make_lesion_answer, lesion_box, is_cut):
    answer = make_lesion_answer().model_copy(
        update={"lesion_box": lesion_box, "crop_box": (12, 12, 148, 148)}
    )

    assert ("Part of the frame lies outside the square" in lesion_photo(answer)) == is_cut


def test_without_a_lesion_box_the_square_is_shown(make_lesion_answer):
    html = lesion_photo(make_lesion_answer().model_copy(update={"lesion_box": None}))

    assert "The network reads the bright square, not the dimmed rest" in html
    assert "lesion-box" not in html and "The frame" not in html


def test_the_map_is_off_at_first_and_has_a_control_of_its_strength(make_lesion_answer):
    html = lesion_photo(make_lesion_answer())

    assert re.search(r'<input type="checkbox" data-map>', html)
    assert re.search(r'<input type="range" min="0" max="100"[^>]* data-strength>', html)
    assert "data-map" not in lesion_photo(make_lesion_answer().model_copy(update={"heatmap_png": None}))


def test_the_photo_itself_is_not_in_the_fragment(make_lesion_answer):
    html = lesion_photo(make_lesion_answer())

    assert re.search(r'<img alt="The photo of the lesion" data-photo>', html)


@pytest.mark.parametrize(
    ("probability", "odds"),
    [
        *[
            (0.004, (1, 100, "fewer")),
            (0.01, (1, 100)),
            (0.031, (1, 30)),
            (0.07, (1, 15)),
            (0.12, (1, 8)),
            (0.19, (1, 5)),
        ],
        *[(0.45, (4, 10)), (0.5, (5, 10)), (0.68, (7, 10)), (0.94, (9, 10))],
        *[(0.97, (97, 100)), (0.99, (99, 100)), (0.999, (99, 100, "more"))],
    ],
)
def test_a_probability_is_shown_as_odds(probability, odds):
    assert odds_of(probability) == (*odds, "about")[:3]


def test_odds_stand_in_the_verdict(make_lesion_answer):
    words = words_of(lesion_card(make_lesion_answer(malignant=0.19, benign_threshold=0.1)))
    rare = words_of(lesion_card(make_lesion_answer(malignant=0.004)))

    certain = words_of(lesion_card(make_lesion_answer(malignant=0.996)))

    assert "About 1 in 5 lesions that look like this are malignant: cancer or an early form of it." in words
    assert "Fewer than 1 in 100 lesions that look like this are malignant" in rare
    assert "More than 99 in 100 lesions that look like this are malignant" in certain


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("lesion_too_small", "what looks most like a lesion"),
        ("not_skin", "what looks most like a lesion"),
        ("unfamiliar", "what looks most like a lesion"),
    ],
)
def test_the_frame_on_a_photo_of_something_else_is_not_called_a_lesion(make_not_usable_answer, code, words):
    html = lesion_photo(make_not_usable_answer(code, lesion_box=(100, 60, 200, 120)))

    assert f"The frame marks {words}." in words_of(html)


def test_the_grad_cam_map_of_an_inconclusive_answer_is_that_of_malignancy(make_lesion_answer):
    inconclusive = lesion_photo(make_lesion_answer(benign_threshold=0.05))
    benign = lesion_photo(make_lesion_answer())

    assert "the more this area suggests a malignant lesion" in inconclusive
    assert "the more this area supports the verdict" in benign


def test_a_photo_that_cannot_be_shown_has_a_text(make_lesion_answer):
    assert "cannot be shown here, but" in lesion_photo(make_lesion_answer())


def test_a_probability_between_the_thresholds_is_inconclusive_and_names_no_diagnosis(make_lesion_answer):
    html = lesion_card(make_lesion_answer(malignant=0.2, benign_threshold=0.12))
    words = words_of(html)

    assert 'data-verdict="inconclusive"' in html and 'class="card verdict inconclusive"' in html
    assert "Show it to a doctor. Another sharp photo from 10 cm in daylight can help" in words
    assert "No diagnosis is named" in words and "Nevus benign 62%" in words
    assert "Looks benign" not in words and "network disagree" not in words
    assert "found near_threshold" not in words
    assert TICK not in html[: html.index("No diagnosis is named")]


@pytest.mark.parametrize(
    ("code", "title", "step"),
    [
        ("too_small", "This photo is too small", "Send the original photo, not a thumbnail"),
        ("too_dark", "This photo is too dark", "Take it again in daylight"),
        ("overexposed", "This photo is too bright", "Take it again without flash"),
        ("not_skin", "This does not look like a skin lesion", "Take a sharp photo from 10 cm"),
        ("no_lesion", "No lesion was found", "with the lesion in the middle"),
        ("lesion_too_small", "No lesion large enough was found", "Otherwise move closer"),
        ("unfamiliar", "The network does not know photos like this", "Use no filter"),
    ],
)
def test_a_photo_that_is_not_usable_has_its_reason_and_advice_but_no_probability_diagnosis_or_tick(
    make_not_usable_answer, code, title, step
):
    html = lesion_card(make_not_usable_answer(code))
    words = words_of(html)

    assert title in words and step in words
    assert 'data-verdict="inconclusive"' in html and f'data-reason="{code}"' in html
    assert "What the server found The photo has 20 x 20 pixels, at least 32 x 32 are needed. Network" in words
    assert "no answer does not mean that it is harmless" in words
    assert DISCLAIMER in html
    assert "%" not in words and "bars" not in html and "Looks" not in words and "risk" not in words
    assert TICK not in html and "gauge" not in html


@pytest.mark.parametrize(
    ("malignant", "step"),
    [
        (0.1, "Look at it again once a month. If it grows, changes its shape or colour, itches or bleeds"),
        (0.3, "The network cannot tell whether this lesion is benign or malignant. Show it to a doctor"),
        (0.8, "Make an appointment with a doctor now, and show this page there."),
    ],
)
def test_every_verdict_names_the_next_step(make_lesion_answer, malignant, step):
    words = words_of(lesion_card(make_lesion_answer(malignant=malignant, benign_threshold=0.2)))

    assert step in words.partition("What to do ")[2].partition(DISCLAIMER)[0]


def test_a_malignant_verdict_says_how_soon_by_which_guideline(make_lesion_answer):
    malignant, benign = (lesion_card(make_lesion_answer(malignant=share)) for share in (0.8, 0.1))

    assert "within two weeks" in words_of(malignant) and "https://www.nice.org.uk/guidance/ng12" in malignant
    assert "two weeks" not in benign and "nice.org.uk" not in benign


def test_only_the_english_page_shows_what_the_server_measured(make_not_usable_answer):
    html = lesion_fragment(make_not_usable_answer("too_small"), None, "de")

    assert "Dieses Foto ist zu klein" in html and "20 x 20" not in html


def test_every_reason_of_a_lesion_photo_has_its_own_text():
    beside_a_verdict = {"near_threshold", "blurred", "several_lesions"}

    assert set(NOT_USABLE) == set(get_args(ProblemCode)) - beside_a_verdict
    assert all(text.steps for text in NOT_USABLE.values())


def test_several_reasons_give_the_steps_of_all(make_not_usable_answer):
    words = words_of(lesion_card(make_not_usable_answer("too_dark", "too_small")))

    assert "This photo is too dark" in words
    assert "Take it again in daylight" in words and "Send the original photo" in words


def test_the_photo_of_an_answer_without_a_verdict_has_the_lesion_but_no_grad_cam_map(make_not_usable_answer):
    html = lesion_photo(make_not_usable_answer("lesion_too_small", lesion_box=(4, 3, 8, 9)))

    assert '<span class="lesion-box" data-box="4,3,8,9">' in html
    assert "Where the network looked" not in html and 'class="seen"' not in html


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("blurred", "The lesion is blurred, so this answer is less certain. Take the photo again"),
        (
            "several_lesions",
            "There are several lesions in this photo. Only the one in the frame was classified.",
        ),
        ("too_dark", "This answer is less certain. Found too_dark; do something."),
    ],
)
def test_the_reasons_of_a_weak_answer_stand_in_its_verdict_with_what_to_do(make_lesion_answer, code, text):
    words = words_of(lesion_card(make_lesion_answer(weaknesses=(code,))))

    assert words.index("Looks benign") < words.index(text) < words.index("Most likely")


def test_a_benign_verdict_on_a_blurred_photo_is_not_green_and_asks_for_a_sharp_photo_first(
    make_lesion_answer,
):
    html = lesion_card(make_lesion_answer(weaknesses=("blurred",)))
    page, _, report = html.partition("<template data-report>")

    assert 'class="card verdict inconclusive"' in page and TICK not in page[: page.index("Most likely")]
    for part in (page, report):
        assert "Looks benign, but the photo is too blurred to rely on" in words_of(part)
    assert "What to do Take the photo again, from about 10 cm" in words_of(page)


def test_other_lesions_do_not_come_before_the_doctor(make_lesion_answer):
    words = words_of(lesion_card(make_lesion_answer(malignant=0.8, weaknesses=("several_lesions",))))

    assert words.index("Make an appointment with a doctor now") < words.index("There are several lesions")


def test_a_benign_verdict_says_how_often_such_answers_are_wrong(make_lesion_answer, models):
    words = words_of(lesion_card(make_lesion_answer(), verdict_errors(models[0])))

    assert (
        "The network makes mistakes. "
        "Of 100 malignant lesions in the validation photos, 13 were called benign." in words
    )
    assert (
        "Malignant lesions called benign, validation photos 13% (95% interval 8% to 19%, 134 photos)" in words
    )
    assert "Of 100" not in words_of(lesion_card(make_lesion_answer(malignant=0.8), verdict_errors(models[0])))


def test_a_network_without_metrics_says_that_its_errors_were_not_measured(make_lesion_answer):
    words = words_of(lesion_card(make_lesion_answer()))

    assert "How often its answers are wrong was not measured for this network." in words
