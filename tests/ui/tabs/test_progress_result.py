import re
from datetime import datetime

import pytest

from models.metrics import Metric
from serve.progress.schemas import Box, Eyes, FoundFace, Point
from serve.schemas import DISCLAIMER, Reason
from ui.tabs.progress_result import progress_card


def words_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


@pytest.mark.parametrize(("improved", "headline"), [(0.83, "Improved"), (0.21, "Worsened")])
def test_the_verdict_stands_with_both_probabilities_and_the_disclaimer(
    make_progress_answer, improved, headline
):
    html = progress_card(make_progress_answer(5, improved=improved))

    assert f"<h3>{headline}</h3>" in html
    assert (
        f"{improved:.0%} probability of improvement {1 - improved:.0%} probability of worsening"
        in words_of(html)
    )
    assert DISCLAIMER in html
    assert html.count('<circle class="dot') == 2 * 4


@pytest.mark.parametrize(
    ("improved", "step"),
    [
        (0.83, "Improved does not mean healthy."),
        (0.21, "Show your skin to a doctor. If it hurts or gets worse fast, do so now."),
    ],
)
def test_improved_and_worsened_name_the_next_step(make_progress_answer, improved, step):
    words = words_of(progress_card(make_progress_answer(5, improved=improved)))

    assert step in words.partition("What to do ")[2].partition(DISCLAIMER)[0]


@pytest.mark.parametrize("improved", [0.83, 0.21])
def test_a_change_states_the_false_change_rate_and_what_can_look_like_one(
    make_progress_answer, models, improved
):
    progress = models[1]
    rates = progress.metrics.verdicts["cross_fitted"]
    called = rates.called | {"altered": Metric(value=0.1167)}
    metrics = progress.metrics.model_copy(
        update={"verdicts": {"cross_fitted": rates.model_copy(update={"called": called})}}
    )
    model = progress.model_copy(update={"metrics": metrics})
    answer = make_progress_answer(5, improved=improved)

    page, _, report = progress_card(answer, "en", model).partition("<template data-report>")

    for html in (page, report):
        assert "12 of 100 series were called improved or worsened." in words_of(html)
    assert "If the light, make-up, beard or filter differs" in words_of(page)
    assert "of 100" not in words_of(progress_card(answer))
    assert "of 100" not in words_of(
        progress_card(make_progress_answer(5, improved=0.5, thresholds=(0.6, 0.6)), "en", model)
    )


def test_different_light_is_shown_in_the_verdict(make_progress_answer):
    light = (
        "the face in photo 2 is 2.5 times as bright as that in photo 1, at most 1.7 times is similar light"
    )
    answer = make_progress_answer(2).model_copy(
        update={"reasons": [Reason(code="light_differs", message=light)]}
    )

    for language, words in (("en", "The light differs. The face in photo 2"), ("de", "2,5-mal so hell wie")):
        page, _, report = progress_card(answer, language).partition("<template data-report>")
        verdict = page[: page.index("</svg>", page.index("disclaimer"))]
        assert words in words_of(verdict) and page.count("photo 2 is 2.5 times") == (language == "en")
        assert words.removeprefix("The light differs. ") in words_of(report)


def test_the_report_of_an_inconclusive_series_names_the_reason_and_no_probability(make_progress_answer):
    answer = make_progress_answer(3, improved=0.5)
    reason = Reason(code="different_people", message="photo 2 seems to show another person")
    photos = [answer.photos[2], answer.photos[1].model_copy(update={"same_person": False}), answer.photos[0]]
    photos = [photo.model_copy(update={"improved_probability_so_far": None}) for photo in photos]
    answer = answer.model_copy(
        update={"verdict": "inconclusive", "photos": photos, "reasons": [reason], "order": "exif"}
    )

    page, _, report = progress_card(answer).partition("<template data-report>")

    for html in (page, report):
        words = words_of(html)
        assert "Inconclusive These photos cannot be compared: there is no probability." in words
        assert "Photo 2 seems to show another person." in words and "added as photo 3" in words
        assert "Here the photos are counted in the order in which you added them." in words
        assert "%" not in words and "robability of" not in words
    assert report.count("data-photo=") == 3 and words_of(report).count("another person") == 2
    assert "progress-reference, version 1" in words_of(report) and DISCLAIMER in report


def test_a_probability_near_one_half_is_no_clear_change(make_progress_answer):
    assert "no clear change" in progress_card(make_progress_answer(2, improved=0.45))
    assert "no clear change" not in progress_card(make_progress_answer(2, improved=0.35))


@pytest.mark.parametrize(
    ("improved", "words"),
    [
        (0.4996, "Worsened Both probabilities are close to one half: the photos show no clear change. 49%"),
        (0.5, "Improved Both probabilities are close to one half: the photos show no clear change. 50%"),
        (0.4996, "49% probability of improvement 51% probability of worsening"),
        (0.5, "50% probability of improvement 50% probability of worsening"),
        (0.625, "62% probability of improvement 38% probability of worsening"),
        (0.004, "&lt;1% probability of improvement &gt;99% probability of worsening"),
    ],
)
def test_the_two_probabilities_agree_with_the_verdict_and_add_up(make_progress_answer, improved, words):
    assert words in words_of(progress_card(make_progress_answer(2, improved=improved)))


def test_no_clear_change_is_grey_with_both_probabilities_and_what_to_do(make_progress_answer):
    reason = Reason(code="no_clear_change", message="the probability of improved is 0.52")
    answer = make_progress_answer(3, improved=0.52, thresholds=(0.663, 0.663)).model_copy(
        update={"reasons": [reason]}
    )

    html = progress_card(answer)

    assert "<h3>No clear change</h3>" in html and 'class="card verdict inconclusive"' in html
    assert "52% probability of improvement 48% probability of worsening" in words_of(html)
    assert "What to do Compare again after about a month." in words_of(html)
    assert "Neither is high enough for an answer" in words_of(html)
    assert "does not mean healthy" in html and reason.message not in html


def test_the_lines_of_the_plot_are_explained_once(make_progress_answer):
    thirds = progress_card(make_progress_answer(3, improved=0.52, thresholds=(0.663, 0.7)))
    halves = progress_card(make_progress_answer(3, improved=0.52))

    sentence = "Above the upper line: improved. Below the lower line: worsened. In between: no clear change."
    assert words_of(thirds).count(sentence) == 1
    assert words_of(halves).count("On or above the line of 50%: improved. Below it: worsened.") == 1
    assert "In between" not in halves


def test_photos_of_different_people_are_marked_without_probability_and_plot(make_progress_answer):
    message = "photo 2 seems to show another person than photos 1 and 3; send photos of one person"
    answer = make_progress_answer(3, improved=0.5)
    other = answer.photos[1].model_copy(update={"same_person": False})
    answer = answer.model_copy(
        update={
            "verdict": "inconclusive",
            "photos": [answer.photos[0], other, answer.photos[2]],
            "reasons": [Reason(code="different_people", message=message)],
        }
    )

    html = progress_card(answer).partition("<template data-report>")[0]
    tiles = re.findall(r'<li class="(excluded|kept)">.*?</li>', html, flags=re.DOTALL)

    assert "<h3>Inconclusive</h3>" in html and 'class="card verdict inconclusive"' in html
    assert "Photo 2 seems to show another person than photos 1 and 3" in words_of(html)
    assert "Send photos of one person only." in html
    assert "probability of improvement" not in words_of(html) and '<svg class="plot' not in html
    assert tiles == ["kept", "excluded", "kept"] and html.count("another person") == 2
    assert 'data-leave-out="1"' in html and "Leave photo 2 out and compare" in words_of(html)


def test_marked_photos_cannot_be_left_out_if_one_photo_would_remain(make_progress_answer):
    answer = make_progress_answer(2, improved=0.5)
    other = answer.photos[1].model_copy(update={"same_person": False})
    reason = Reason(code="different_people", message="photo 2 seems to show another person than photo 1")
    update = {"verdict": "inconclusive", "photos": [answer.photos[0], other], "reasons": [reason]}

    assert "data-leave-out" not in progress_card(answer.model_copy(update=update))


def test_photos_stand_in_the_order_of_the_answer_and_those_without_a_face_are_marked(make_progress_answer):
    answer = make_progress_answer(3, without_face=(1,))
    answer = answer.model_copy(update={"photos": answer.photos[::-1], "order": "exif"})

    html = progress_card(answer)
    tiles = re.findall(r'<li class="[^"]*">.*?</li>', html, flags=re.DOTALL)

    assert [re.findall(r'data-photo="(\d)"', tile) for tile in tiles] == [["2"], ["1"], ["0"]]
    assert "no face found: not used" in tiles[1] and "face-box" not in tiles[1]
    assert "face found" in tiles[0] and "face-box" in tiles[0]
    assert "Your photos, oldest first" in html and "photo, oldest first" in html
    assert "sorted by the dates that the photos record" in html
    assert "1 photo shows no face and is not used." in html


def test_photos_in_a_chosen_order_are_not_called_oldest_first(make_mixed_times_answer):
    words = words_of(progress_card(make_mixed_times_answer(2)))

    assert "Your photos, in your order" in words
    assert "oldest first" not in words and "photo, in your order" in words
    assert "If the first one is not the oldest, change the order" in words
    assert "Photo 1 no date" in words and "Photo 2 Mar 9, 2026" in words


def test_dated_photos_stand_at_their_dates_in_the_plot(make_progress_answer):
    answer = make_progress_answer(3)
    times = [datetime(2026, 3, 1, 9), datetime(2026, 3, 8, 9), datetime(2026, 5, 1, 9)]
    photos = [
        photo.model_copy(update={"taken_at": time}) for photo, time in zip(answer.photos, times, strict=True)
    ]

    html = progress_card(answer.model_copy(update={"photos": photos, "order": "taken_at"}))

    assert "date of the photo, 2026" in words_of(html)
    assert "<title>photo 2 of Mar 8, 2026: 66%, improved</title>" in html
    assert re.findall(r'text-anchor="middle" y="226">([^<]*)<', html)[-2:] == ["Mar 1", "May 1"]
    assert "sorted by the recorded and the entered dates" in html


def test_before_and_after_offers_the_photos_with_the_face_of_the_person(make_progress_answer):
    answer = make_progress_answer(4, without_face=(1,))
    other = answer.photos[2].model_copy(update={"same_person": False})
    photos = [*answer.photos[:2], other, answer.photos[3]]

    html = progress_card(answer.model_copy(update={"photos": photos}))
    before, after = re.findall(r"<select.*?</select>", html, flags=re.DOTALL)

    for select, chosen in ((before, "0"), (after, "3")):
        assert re.findall(r'value="(\d)"', select) == ["0", "3"]
        assert re.findall(r'value="(\d)" [^>]*selected', select) == [chosen]
    assert 'data-face="110,90,370,420"' in before


def test_one_face_has_no_before_and_after(make_progress_answer):
    assert "data-before-after" not in progress_card(make_progress_answer(2, without_face=(0,)))


def test_the_reasons_of_a_weak_answer_are_shown_with_what_their_numbers_count(make_mixed_times_answer):
    answer = make_mixed_times_answer(2)
    dark = Reason(code="too_dark", message="photo 2: the photo is black; take it again in daylight")
    answer = answer.model_copy(update={"reasons": [*answer.reasons, dark]})

    words = words_of(progress_card(answer))
    sorted_words = words_of(progress_card(answer.model_copy(update={"order": "exif"})))

    assert "Photo 2: the photo is black; take it again in daylight." in words
    assert "taken_at" not in words, "the page names dates, not fields of the API"
    assert "counted in the order" not in sorted_words, "upload order and time order are the same"

    swapped = answer.model_copy(update={"order": "exif", "photos": answer.photos[::-1]})
    swapped_words = words_of(progress_card(swapped))
    assert "Here the photos are counted in the order in which you added them." in swapped_words
    assert "Photo 1 Mar 9, 2026 added as photo 2" in swapped_words


def test_box_and_eyes_of_a_face_are_in_pixels_of_the_photo(make_progress_answer):
    answer = make_progress_answer(2)
    eyes = Eyes(left=Point(x=40.25, y=130), right=Point(x=140, y=128))
    face = FoundFace(box=Box(left=-20.5, top=30, right=200, bottom=330), confidence=1, eyes=eyes)
    first = answer.photos[0].model_copy(update={"face": face})

    html = progress_card(answer.model_copy(update={"photos": [first, answer.photos[1]]}))

    assert 'data-box="-20.5,30,200,330"' in html
    assert html.count('data-eyes="40.25,130,140,128"') == 2 and html.count("data-eyes") == 2


def test_a_message_of_the_server_is_text(make_mixed_times_answer):
    answer = make_mixed_times_answer(2)
    reason = Reason(code="too_dark", message="photo 1: <script>alert(1)</script>")

    html = progress_card(answer.model_copy(update={"reasons": [reason]}))

    assert "<script>" not in html and "&lt;script&gt;" in html


def test_the_plots_are_described_in_words(make_progress_answer):
    html = progress_card(make_progress_answer(3, without_face=(1,)))

    assert html.count('aria-label="Probability of improvement after each photo: photo 3 83%"') == 2
