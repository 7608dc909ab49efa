"""``skinserve score`` as a process: killed, stopped and resumed."""

import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from cli.main import main
from models import storage
from tests.e2e.own_server import write_small_lesion
from tests.lesion_pictures import spots
from tests.local_bucket import new_bucket, s3_server
from tests.random_checkpoints import write_progress

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 300


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_lesion(tmp_path_factory.mktemp("model"), "lesion-random")


def write_photos(folder: Path, num: int) -> Path:
    photo = spots((60, 60, 90, 80), size=(160, 120))
    for number in range(num):
        path = folder / f"{number % 7}" / f"{number:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo)
    return folder


class Scoring:
    """A running ``skinserve score``."""

    def __init__(self, *arguments: str | Path) -> None:
        command = [sys.executable, "-m", "cli.score", *map(str, arguments)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        environment.pop("RAY_AUTH_MODE", None)
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def wait_until(self, is_true: Callable[[], bool]) -> bool:
        """Wait; return whether it became true before the process ended."""
        until = time.monotonic() + TIMEOUT_S
        while self.process.poll() is None:
            assert time.monotonic() < until
            if is_true():
                return True
            time.sleep(0.02)
        return False

    def kill(self) -> None:
        """Kill the process and all its children at once, without a chance to clean up."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        os.killpg(self.process.pid, signal.SIGKILL)
        for child in children:
            if child.is_running():
                child.kill()
        self.finish()
        psutil.wait_procs(children, timeout=TIMEOUT_S)

    def finish(self) -> tuple[int, str, str]:
        """Return exit code, output and errors."""
        out, errors = self.process.communicate(timeout=TIMEOUT_S)
        return self.process.returncode, out, errors


def num_parts(out: Path) -> int:
    return len(list((out / "rows").glob("part-*")))


def names_in(out: Path) -> Counter[str]:
    return Counter(pq.read_table(out / "rows", columns=["name"])["name"].to_pylist())


@pytest.mark.cluster
@pytest.mark.slow
def test_a_run_that_was_killed_has_every_photo_once(model: Path, tmp_path: Path):
    photos, out = write_photos(tmp_path / "photos", 200), tmp_path / "out"
    (photos / "notes.txt").write_text("no photo")
    command = (photos, out, "--model", model, "--photos-per-shard", "10")

    first = Scoring(*command)
    assert first.wait_until(lambda: num_parts(out) >= 2), first.finish()
    first.kill()
    killed_at = num_parts(out)

    code, output, errors = Scoring(*command).finish()
    assert code == 0, errors
    assert f"{200 - 10 * killed_at} photos scored in" in output and "1 other files were skipped" in output
    names = names_in(out)
    assert set(names.values()) == {1}
    assert set(names) == {path.relative_to(photos).as_posix() for path in photos.rglob("*.jpg")}
    summary = json.loads((out / "summary.json").read_text())
    assert summary["num_photos"] == 200 and summary["last_run"]["photos_per_s"] > 0


@pytest.mark.slow
@pytest.mark.cluster
def test_a_run_that_was_killed_while_it_listed_the_photos_is_begun_again(model: Path, tmp_path: Path):
    photos, out = write_photos(tmp_path / "photos", 200), tmp_path / "out"
    command = (photos, out, "--model", model, "--photos-per-shard", "50")
    first = Scoring(*command)
    assert first.wait_until(out.exists), first.finish()
    first.kill()
    assert num_parts(out) == 0

    code, _, errors = Scoring(*command).finish()

    assert code == 0, errors
    names = names_in(out)
    assert len(names) == 200 and set(names.values()) == {1}


@pytest.mark.slow
@pytest.mark.cluster
def test_a_bucket_is_scored_into_another_one(model: Path):
    photo = spots((60, 60, 90, 80), size=(160, 120))
    with s3_server(), new_bucket("score-source") as source, new_bucket("score-results") as results:
        for number in range(60):
            storage.write_bytes(f"{source}/photos/{number:02}.jpg", photo)
        storage.write_bytes(f"{source}/photos/bad.jpg", b"no photo")

        code, _, errors = Scoring(
            f"{source}/photos", f"{results}/out", "--model", model, "--photos-per-shard", "20"
        ).finish()

        assert code == 0, errors
        files = storage.list_files(f"{results}/out/rows")
        tables = [pq.read_table(io.BytesIO(storage.read_bytes(file))) for file in files]
        rows = {row["name"]: row for table in tables for row in table.to_pylist()}

    assert len(files) == 4 and len(rows) == sum(len(table) for table in tables) == 61
    assert [name for name, row in rows.items() if row["verdict"] is None] == ["bad.jpg"]


@pytest.mark.slow
@pytest.mark.cluster
def test_sigterm_ends_a_run_cleanly(model: Path, tmp_path: Path):
    photos, out = write_photos(tmp_path / "photos", 400), tmp_path / "out"
    command = (photos, out, "--model", model, "--photos-per-shard", "10")
    scoring = Scoring(*command)
    assert scoring.wait_until(lambda: num_parts(out) >= 2), scoring.finish()
    children = psutil.Process(scoring.process.pid).children(recursive=True)

    scoring.process.send_signal(signal.SIGTERM)
    code, _, errors = scoring.finish()

    _, alive = psutil.wait_procs(children, timeout=20)
    assert code == 143 and not alive and num_parts(out) < 40
    assert errors.splitlines()[-1] == (
        "skinserve score: stopped; finished shards are kept, the same command resumes"
    )
    assert "Traceback" not in errors


@pytest.mark.slow
@pytest.mark.cluster
def test_three_kills_at_random_moments_and_ctrl_c_lose_and_repeat_no_photo(model: Path, tmp_path: Path):
    num_photos = 4000  # so many that the last run cannot end before Ctrl-C
    photos, out = write_photos(tmp_path / "photos", num_photos), tmp_path / "out"
    command = (photos, out, "--model", model, "--photos-per-shard", "20")
    moments = random.Random()
    for attempt in range(4):
        scoring = Scoring(*command)
        wanted = min(140, num_parts(out) + 1 + moments.randrange(20))
        assert scoring.wait_until(lambda wanted=wanted: num_parts(out) >= wanted), scoring.finish()
        if attempt < 3:
            time.sleep(moments.random())
            scoring.kill()
        else:
            os.killpg(scoring.process.pid, signal.SIGINT)  # as a terminal does
            code, _, errors = scoring.finish()
            assert code == 130 and "the same command resumes" in errors.splitlines()[-1]

    code, _, errors = Scoring(*command).finish()

    assert code == 0, errors
    names = names_in(out)
    assert len(names) == num_photos and set(names.values()) == {1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--workers", "0"), "workers is 0, must be at least 1"),
        (("--top-k", "0"), "top_k is 0, must be 1 to"),
        (("--photos-per-shard", "10001"), "photos_per_shard is 10001, must be 1 to 10,000"),
    ],
)
def test_options_out_of_range_are_wrong_use(
    tmp_path: Path, options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit, match="2"):
        main(["score", str(tmp_path), str(tmp_path / "out"), *options])

    assert message in " ".join(capsys.readouterr().err.split())


def test_errors_before_the_first_photo_are_one_line(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "notes.txt").write_text("no photo")
    progress = write_progress(tmp_path / "progress")
    source, out = str(tmp_path / "photos"), str(tmp_path / "out")
    cases = {
        (source, out, "--model", str(tmp_path / "none")): "is no checkpoint",
        (source, out, "--model", str(progress)): "is a progress checkpoint; bulk scoring needs a lesion",
        (source, out, "--model", "lesion@1"): "is a version of a registry; give --registry",
        (source, out, "--model", str(model)): "there are no photos in .*photos (1 other files); correct",
        (str(tmp_path / "none"), f"{out}2", "--model", str(model)): "there is no folder",
        (source, f"{source}/out", "--model", str(model)): "is in the source",
        (source, str(progress), "--model", str(model)): "has files and is no output of this command",
    }
    for arguments, message in cases.items():
        assert main(["score", *arguments]) == 1
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1 and lines[0].startswith("skinserve score: ")
        assert all(part in lines[0] for part in message.split(".*")), lines
