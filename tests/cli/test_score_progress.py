import io

import pytest

from cli import score_progress
from cli.score_progress import TerminalProgress


def test_a_log_has_a_line_with_rate_and_remaining_time_at_most_once_in_an_interval(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    now = [0.0]
    monkeypatch.setattr(score_progress.time, "monotonic", lambda: now[0])

    with TerminalProgress() as progress:
        progress.listed(500)
        now[0] = 61
        progress.listed(1000)
        progress.began(1000, 200)
        now[0] = 130  # Ray starts
        progress.scored(100)
        now[0] = 140
        progress.scored(100)
        now[0] = 230
        progress.scored(100)

    assert capsys.readouterr().err.splitlines() == [
        "skinserve score: 1,000 photos listed",
        "skinserve score: 300 of 1,000 photos scored",
        "skinserve score: 500 of 1,000 photos scored, 2.0 photos/s, 250 s left",
    ]


def test_a_terminal_has_a_bar_and_no_lines(monkeypatch: pytest.MonkeyPatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr(score_progress, "LOG_INTERVAL_S", 0.0)

    with TerminalProgress() as progress:
        progress.listed(40)
        progress.began(40, 10)
        progress.scored(30)

    assert "40/40" in terminal.getvalue() and "photos/s" in terminal.getvalue()
    assert "skinserve score:" not in terminal.getvalue()
