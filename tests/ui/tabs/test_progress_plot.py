from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest

from serve.progress.schemas import VerdictThresholds
from ui.tabs.progress_plot import LINE_HEIGHT, progress_plots

THREE = VerdictThresholds(improved=0.663, worsened=0.7)
TWO = VerdictThresholds(improved=0.6)


def plots(improved: list[float | None], thresholds: VerdictThresholds) -> list[dict[str, Any]]:
    return progress_plots(improved, [None] * len(improved), thresholds)


def test_the_plot_has_a_dot_for_every_probability_in_the_zone_of_its_verdict():
    for plot in plots([None, 0.67, None, 0.64, 0.2], THREE):
        assert [(dot["number"], dot["tone"], dot["verdict"], dot["percent"]) for dot in plot["dots"]] == [
            (2, "improved", "improved", "67%"),
            (4, "inconclusive", "no_clear_change", "64%"),
            (5, "worsened", "worsened", "20%"),
        ]
        for dot, zone in zip(plot["dots"], plot["zones"], strict=True):
            assert zone["verdict"] == dot["verdict"]
            assert zone["y"] < dot["y"] < zone["y"] + zone["height"]


def test_the_zones_meet_at_the_labelled_thresholds():
    plot = plots([0.5], THREE)[0]
    upper, lower, top, bottom = plot["levels"]

    assert [level["label"] for level in plot["levels"]] == ["67%", "30%", "100%", "0%"]
    assert [level["kind"] for level in plot["levels"]] == ["threshold", "threshold", "grid", "grid"]
    assert [zone["y"] for zone in plot["zones"]] == [top["y"], upper["y"], lower["y"]]
    assert [round(zone["y"] + zone["height"], 1) for zone in plot["zones"]] == [
        upper["y"],
        lower["y"],
        bottom["y"],
    ]


def test_without_a_threshold_of_worsened_there_are_two_zones():
    plot = plots([0.59, 0.6], TWO)[0]

    assert [zone["verdict"] for zone in plot["zones"]] == ["improved", "worsened"]
    assert [dot["verdict"] for dot in plot["dots"]] == ["worsened", "improved"]
    assert [level["label"] for level in plot["levels"]] == ["60%", "100%", "0%"]
    assert plot["dots"][1]["y"] == plot["levels"][0]["y"] == plot["zones"][1]["y"]


@pytest.mark.parametrize(
    "thresholds",
    [
        THREE,
        TWO,
        VerdictThresholds(improved=0.51, worsened=0.5),
        VerdictThresholds(improved=0.97, worsened=0.98),
    ],
)
def test_labels_and_names_of_close_thresholds_do_not_overlap(thresholds: VerdictThresholds):
    plot = plots([0.5], thresholds)[0]

    label_y = sorted(level["label_y"] for level in plot["levels"] if level["label"])
    assert all(below - above >= LINE_HEIGHT - 0.2 for above, below in pairwise(label_y))
    named = [zone for zone in plot["zones"] if zone["name_y"] is not None]
    assert all(zone["y"] < zone["name_y"] < zone["y"] + zone["height"] for zone in named)
    assert [zone for zone in plot["zones"] if zone["height"] >= LINE_HEIGHT] == named != []


def test_dots_stand_at_the_dates_of_their_photos():
    times = [datetime(2026, 3, 1), datetime(2026, 3, 2), datetime(2026, 3, 11)]

    for plot in progress_plots([None, 0.6, 0.7], times, THREE):
        first, last = plot["axis"].x[0], plot["axis"].x[-1]
        assert [dot["x"] for dot in plot["dots"]] == [plot["axis"].x[1], last]
        assert plot["dots"][0]["x"] == pytest.approx(first + (last - first) / 10, abs=0.1)
        assert [dot["time"] for dot in plot["dots"]] == times[1:]
