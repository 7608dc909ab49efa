import re

import gradio as gr
import pytest

from ui.preview import Preview
from ui.tabs.progress_dates import chosen_times, dates_card

PREVIEWS = [Preview(data_uri=f"data:{name}", width_px=480, height_px=480) for name in "abc"]


def test_the_card_has_a_field_for_each_missing_date_and_the_recorded_ones(make_mixed_times_answer):
    answer = make_mixed_times_answer(3)
    answer = answer.model_copy(update={"photos": answer.photos[::-1]})

    html = dates_card(answer, PREVIEWS)
    tiles = re.findall(r"<li>.*?</li>", html, flags=re.DOTALL)

    assert [re.findall(r"data:(\w)", tile) for tile in tiles] == [["a"], ["b"], ["c"]], "in upload order"
    assert ['type="date"' in tile for tile in tiles] == [True, False, True]
    assert 'aria-label="Date of photo 3"' in tiles[2]
    assert 'data-time="2026-03-09T18:30:00"' in tiles[1] and "09 Mar 2026" in tiles[1]
    assert "2 of 3 photos record no date" in html
    assert "this order is wrong" not in html


def test_the_card_says_when_the_recorded_dates_contradict_the_order(make_mixed_times_answer):
    answer = make_mixed_times_answer(3)
    taken_at = answer.photos[1].taken_at.replace(year=2025)
    photos = [*answer.photos[:2], answer.photos[2].model_copy(update={"taken_at": taken_at})]

    html = dates_card(answer.model_copy(update={"photos": photos}), PREVIEWS)

    assert "By the dates that are recorded, this order is wrong." in html


@pytest.mark.parametrize(
    ("data", "times"),
    [
        ({"times": ["2026-03-01T12:00:00"]}, ["2026-03-01T12:00:00"]),
        ({"times": []}, []),
        ({"times": "2026"}, []),
        ({}, []),
        (None, []),
    ],
)
def test_the_choice_of_the_person_is_read_from_the_event(data, times):
    assert chosen_times(gr.EventData(None, data)) == times
