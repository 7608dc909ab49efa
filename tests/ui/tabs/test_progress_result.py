import re

import pytest

from serve.progress.schemas import Box, FoundFace
from serve.schemas import DISCLAIMER, Reason
from ui.preview import Preview
from ui.tabs.progress_result import progress_card

PHOTO = Preview(data_uri="data:image/jpeg;base64,AAAA", width_px=400, height_px=300)


def words_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


@pytest.mark.parametrize(("improved", "headline"), [(0.83, "Improved"), (0.21, "Worsened")])
def test_the_verdict_stands_with_both_probabilities_and_the_disclaimer(
    make_progress_answer, improved, headline
):
    html = progress_card(make_progress_answer(5, improved=improved), [PHOTO] * 5)

    assert f"<h3>{headline}</h3>" in html
    assert (
        f"{improved:.0%} probability of improvement {1 - improved:.0%} probability of worsening"
        in words_of(html)
    )
    assert DISCLAIMER in html
    assert html.count('<circle class="dot') == 2 * 4


def test_a_probability_near_one_half_is_no_clear_change(make_progress_answer):
    assert "no clear change" in progress_card(make_progress_answer(2, improved=0.45), [None] * 2)
    assert "no clear change" not in progress_card(make_progress_answer(2, improved=0.35), [None] * 2)


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
    assert words in words_of(progress_card(make_progress_answer(2, improved=improved), [None] * 2))


def test_no_clear_change_is_grey_with_both_probabilities_and_what_to_do(make_progress_answer):
    reason = Reason(code="no_clear_change", message="the probability of improved is 0.52")
    answer = make_progress_answer(3, improved=0.52, thresholds=(0.663, 0.663)).model_copy(
        update={"reasons": [reason]}
    )

    html = progress_card(answer, [None] * 3)

    assert "<h3>No clear change</h3>" in html and 'class="card verdict inconclusive"' in html
    assert "52% probability of improvement 48% probability of worsening" in words_of(html)
    assert "What to do Compare again after some weeks." in words_of(html)
    assert "does not mean healthy" in html and reason.message not in html


def test_the_thresholds_stand_once_in_words(make_progress_answer):
    thirds = progress_card(make_progress_answer(3, improved=0.52, thresholds=(0.663, 0.7)), [None] * 3)
    halves = progress_card(make_progress_answer(3, improved=0.52), [None] * 3)

    sentence = "Improved from 67%, worsened from 70% probability of worsening, no clear change in between."
    assert words_of(thirds).count(sentence) == 1
    assert words_of(halves).count("Improved from 50%, worsened below it.") == 1
    assert "no clear change in between" not in halves


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

    html = progress_card(answer, [None] * 3)
    tiles = re.findall(r'<li class="(excluded|kept)">.*?</li>', html, flags=re.DOTALL)

    assert "<h3>Inconclusive</h3>" in html and 'class="card verdict inconclusive"' in html
    assert "Photo 2 seems to show another person than photos 1 and 3" in words_of(html)
    assert "Send photos of one person only." in html
    assert "probability of improvement" not in words_of(html) and '<svg class="plot' not in html
    assert tiles == ["kept", "excluded", "kept"] and html.count("another person") == 2


def test_photos_stand_in_the_order_of_the_answer_and_those_without_a_face_are_marked(make_progress_answer):
    answer = make_progress_answer(3, without_face=(1,))
    answer = answer.model_copy(update={"photos": answer.photos[::-1], "order": "exif"})
    previews = [Preview(data_uri=f"data:{n}", width_px=480, height_px=480) for n in "abc"]

    html = progress_card(answer, previews)
    tiles = re.findall(r'<li class="[^"]*">.*?</li>', html, flags=re.DOTALL)

    assert [re.findall(r"data:(\w)", tile) for tile in tiles] == [["c"], ["b"], ["a"]]
    assert "no face found: not used" in tiles[1] and "face-box" not in tiles[1]
    assert "face found" in tiles[0] and "face-box" in tiles[0]
    assert "Your photos, oldest first" in html and "photo, oldest first" in html
    assert "sorted by the dates that the photos record" in html
    assert "1 photo shows no face and is not used." in html


def test_photos_in_the_order_of_the_uploads_are_not_called_oldest_first(make_progress_answer):
    words = words_of(progress_card(make_progress_answer(2), [None] * 2))

    assert "Your photos, in the order in which you added them" in words
    assert "photo, oldest first" not in words and "photo, in the order added" in words
    assert "If the first one is not the oldest, add them again" in words


def test_the_reasons_of_a_weak_answer_are_shown_with_what_their_numbers_count(make_mixed_times_answer):
    answer = make_mixed_times_answer(2)
    dark = Reason(code="too_dark", message="photo 2: the photo is black; take it again in daylight")
    answer = answer.model_copy(update={"reasons": [*answer.reasons, dark]})

    words = words_of(progress_card(answer, [None] * 2))
    sorted_words = words_of(progress_card(answer.model_copy(update={"order": "exif"}), [None] * 2))

    assert "Photo 2: the photo is black; take it again in daylight." in words
    assert "taken_at" not in words, "the page names dates, not fields of the API"
    assert "counted in the order in which you added them" in sorted_words


def test_the_box_of_a_face_is_in_fractions_of_the_photo_and_never_beyond_it(make_progress_answer):
    answer = make_progress_answer(2)
    face = FoundFace(box=Box(left=-20, top=30, right=200, bottom=330), confidence=1)
    first = answer.photos[0].model_copy(update={"face": face})

    html = progress_card(answer.model_copy(update={"photos": [first, answer.photos[1]]}), [PHOTO] * 2)

    assert "left:0%;top:10%;width:50%;height:90%" in html


def test_the_plots_are_described_in_words(make_progress_answer):
    html = progress_card(make_progress_answer(3, without_face=(1,)), [None] * 3)

    assert html.count('aria-label="Probability of improvement, after each photo: photo 3 83%"') == 2
