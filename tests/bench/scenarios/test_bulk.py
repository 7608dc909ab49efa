from pathlib import Path

import pytest

from bench.scenarios.bulk import OURS, Loop, Measured, Settings, summarize, write_photos
from tests.e2e.own_server import write_small_lesion


def test_ratios_are_to_the_better_loop_of_the_same_turn():
    turn = {
        "per_core": Measured(100.0, 20.0, 20.0),
        "all_cores": Measured(80.0, 16.0, 16.0),
        OURS: Measured(90.0, 20.0, 18.0),
    }

    summary = summarize([turn, turn])

    assert summary["ratio_photos_per_s"] == {"median": 0.9, "low": 0.9, "high": 0.9}
    assert summary["ratio_cpu"] == {"median": 0.8, "low": 0.8, "high": 0.8}


def test_both_loops_classify_every_photo_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = write_photos(Settings(photos=20), tmp_path / "photos")
    loop = Loop(write_small_lesion(tmp_path / "model", "small"), folder)
    sizes: list[int] = []
    monkeypatch.setattr(loop, "_classify", lambda batch: sizes.append(len(batch)))

    for run in (loop.batch_per_core, loop.batch_on_all_cores):
        measured = run()
        assert measured.photos_per_s > 0 and measured.cpu_ms > 0

    assert sum(sizes) == 40 and max(sizes) == 8
