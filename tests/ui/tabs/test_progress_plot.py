from itertools import pairwise

from ui.tabs.progress_plot import HALF, progress_plots


def test_the_plot_has_a_dot_for_every_probability_and_the_line_at_one_half():
    for plot in progress_plots([None, 0.6, None, 0.4]):
        assert [(dot["number"], dot["side"], dot["percent"]) for dot in plot["dots"]] == [
            (2, "improved", "60%"),
            (4, "worsened", "40%"),
        ]
        (half,) = [level for level in plot["levels"] if level["kind"] == "half"]
        assert plot["dots"][0]["y"] < half["y"] < plot["dots"][1]["y"]


def test_a_dot_at_the_threshold_is_on_the_line_and_improved():
    (dot,) = progress_plots([HALF])[0]["dots"]

    assert dot["side"] == "improved"
    assert dot["y"] == progress_plots([HALF])[0]["levels"][1]["y"]


def test_the_numbers_under_the_plot_of_thirty_photos_do_not_touch():
    for plot in progress_plots([0.5] * 30):
        x = [tick["x"] for tick in plot["ticks"]]
        assert len(x) >= 5
        assert min(b - a for a, b in pairwise(x)) >= 22
