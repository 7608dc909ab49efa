"""A task outside ``train/`` trains, is released, evaluated and served after one registration."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.serve.toy_task import WoundRegressor
from tests.train.toy_task import WoundTask
from train import evaluate, launch
from train.data.manifest import Row, write_manifest
from train.tasks import RECIPES, TASKS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    task = WoundTask()
    monkeypatch.setitem(TASKS, task.name, task)  # pyright: ignore[reportArgumentType]
    for name, recipe in task.recipes.items():
        monkeypatch.setitem(RECIPES, name, recipe)  # pyright: ignore[reportArgumentType]


def draw_wounds(folder: Path) -> str:
    """Draw photos whose red share is the area, and write their manifest."""
    rows: list[Row] = []
    for number in range(24):
        path = folder / f"{number}.png"
        Image.new("RGB", (16, 16), (10 * number, 90, 90)).save(path)
        rows.append(Row(image=str(path), label=str(10 * number / 255), person=str(number)))
    write_manifest(rows, folder / "manifest.parquet")
    return str(folder / "manifest.parquet")


@pytest.mark.usefixtures("registered")
async def test_a_third_task_trains_is_released_evaluated_and_answers(tmp_path: Path):
    manifest, run = draw_wounds(tmp_path), tmp_path / "run"

    trained = launch.main(["wound", "--workers", "0", "--manifest", manifest, "--run", str(run)])
    evaluated = evaluate.main(
        [str(run / "checkpoint"), manifest, f"--split={run / 'split.parquet'}", f"--out={tmp_path}"]
    )
    regressor: Any = WoundRegressor
    served = regressor.func_or_class(str(run / "checkpoint"))
    answer = await served.measure(np.full((16, 16, 3), (128, 90, 90), np.uint8))

    assert (trained, evaluated) == (0, 0)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["n"] == 6 and report["mean_error"] < 0.05
    assert "Mean error 0.0" in (tmp_path / "report.html").read_text()
    assert answer == pytest.approx(128 / 255, abs=0.05)


def test_a_third_task_is_short():
    files = (ROOT / "tests/train/toy_task.py", ROOT / "tests/serve/toy_task.py")

    assert sum(bool(line.strip()) for file in files for line in file.read_text().splitlines()) < 150


@pytest.mark.usefixtures("registered")
def test_a_third_task_resumes_only_with_equal_settings_and_has_its_own_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    command = ["wound", "--workers", "0", "--manifest", draw_wounds(tmp_path), "--run", str(tmp_path / "run")]

    assert launch.main([*command, "--num-epochs", "3"]) == 0
    assert launch.main([*command, "--num-epochs", "4"]) == 1

    assert "differs in num_epochs" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        launch.main([*command, "--label-smoothing", "0.1"])  # an option of the lesion task
