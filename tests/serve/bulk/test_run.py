"""Runs without Ray: shards are scored in this process."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from models import storage
from models.storage_errors import StorageError
from serve.bulk import run as run_module
from serve.bulk import run_folder
from serve.bulk.pipeline import ShardResult, ShardWork
from serve.bulk.run import BulkOptions, Summary, score
from serve.bulk.run_folder import RunFolder
from serve.bulk.source import BulkError
from tests.local_bucket import new_bucket, s3_server
from tests.serve.bulk.fake_scorer import TextScorer


class Shards(list[int]):
    """The shards scored so far, in place of Ray; ``fail_at`` stops at one of them."""

    fail_at = -1

    def run(
        self, work: ShardWork, shards: Sequence[int], *, num_workers: int | None, uses_gpu: bool
    ) -> Iterator[ShardResult]:
        for shard in shards:
            if shard == self.fail_at:
                raise KeyboardInterrupt
            self.append(shard)
            yield work.score(shard)


class Recorder:
    """Record the progress."""

    def __init__(self) -> None:
        self.num_listed = self.num_photos = self.num_scored = 0

    def listed(self, num_photos: int) -> None:
        self.num_listed = num_photos

    def began(self, num_photos: int, num_done: int) -> None:
        self.num_photos, self.num_scored = num_photos, num_done

    def scored(self, num_photos: int) -> None:
        self.num_scored += num_photos


@pytest.fixture
def shards(monkeypatch: pytest.MonkeyPatch) -> Shards:
    shards = Shards()
    monkeypatch.setattr(run_module, "run_shards", shards.run)
    return shards


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.slow)])
def run(request: pytest.FixtureRequest, endpoint: str, tmp_path: Path) -> Iterator[BulkOptions]:
    """Score 10 photos and 2 other files in shards of 3."""
    with contextlib.ExitStack() as stack:
        root = str(tmp_path)
        if request.param == "bucket":
            root = stack.enter_context(new_bucket("clinic"))
        for number in range(10):
            storage.write_bytes(f"{root}/photos/{number % 2}/{number}.jpg", b"%d" % number)
        storage.write_bytes(f"{root}/photos/notes.txt", b"notes")
        storage.write_bytes(f"{root}/photos/0/archive.zip", b"zip")
        yield BulkOptions(
            source=f"{root}/photos/",
            out=f"{root}/out",
            scorer=TextScorer(),
            photos_per_shard=3,
            format="ndjson",
        )


def start(run: BulkOptions, progress: Recorder | None = None) -> Summary:
    return score(run, progress or Recorder(), contextlib.nullcontext)


def names_of(run: BulkOptions) -> list[str]:
    """Names in all rows."""
    parts = storage.list_files(f"{run.out}/rows")
    lines = [line for part in parts for line in storage.read_bytes(part).splitlines()]
    return [json.loads(line)["name"] for line in lines]


NAMES = [f"{number % 2}/{number}.jpg" for number in (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)]


def test_every_photo_has_one_row_and_other_files_are_counted(run: BulkOptions, shards: Shards):
    progress = Recorder()

    summary = start(run, progress)

    assert names_of(run) == NAMES and shards == [0, 1, 2, 3]
    assert (summary.num_scored, summary.num_before, summary.listing.num_skipped) == (10, 0, 2)
    assert (progress.num_listed, progress.num_photos, progress.num_scored) == (10, 10, 10)
    written = json.loads(storage.read_bytes(f"{run.out}/summary.json"))
    assert written["num_photos"] == 10 and written["last_run"]["outcomes"] == {str(n): 1 for n in range(10)}


def test_a_stopped_run_resumes_with_the_shards_that_are_left(run: BulkOptions, shards: Shards):
    shards.fail_at = 2
    with pytest.raises(KeyboardInterrupt):
        start(run)
    assert len(names_of(run)) == 6

    shards.fail_at = -1
    progress = Recorder()
    summary = start(run, progress)

    assert names_of(run) == NAMES and shards == [0, 1, 2, 3]
    assert (summary.num_scored, summary.num_before, progress.num_scored) == (4, 6, 10)
    assert start(run).num_scored == 0 and shards == [0, 1, 2, 3]


def test_a_listing_that_was_killed_is_begun_again(
    run: BulkOptions, shards: Shards, monkeypatch: pytest.MonkeyPatch
):
    def killed(self: RunFolder, listing: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RunFolder, "write_listing", killed)
        start(run)
    storage.delete(f"{run.source}0/0.jpg")

    assert start(run).num_scored == 9
    assert names_of(run) == NAMES[1:]


@pytest.mark.parametrize("change", ["more", "fewer", "other content"])
def test_a_changed_source_is_rejected_unless_it_is_not_checked(run: BulkOptions, shards: Shards, change: str):
    shards.fail_at = 2
    with pytest.raises(KeyboardInterrupt):
        start(run)
    shards.fail_at = -1
    if change == "fewer":
        storage.delete(f"{run.source}1/9.jpg")
    else:
        storage.write_bytes(f"{run.source}1/{'99' if change == 'more' else '9'}.jpg", b"new")

    with pytest.raises(
        BulkError, match=r"photos has changed since .*out was begun: 10 photos .* --no-check-source"
    ):
        start(run)
    assert start(replace(run, checks_source=False)).num_scored == 4
    assert sorted(names_of(run)) == sorted(NAMES)


def test_other_files_may_change(run: BulkOptions, shards: Shards):
    start(run)
    storage.write_bytes(f"{run.source}more.txt", b"")

    assert start(run).num_scored == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"photos_per_shard": 4}, "photos_per_shard 3, now it is 4"),
        ({"scorer": TextScorer(version="2")}, "version 1, now it is 2"),
        ({"any_name": True}, "any_name False, now it is True"),
        ({"format": "parquet"}, "format ndjson, now it is parquet"),
    ],
)
def test_other_settings_are_rejected(
    run: BulkOptions, shards: Shards, changes: dict[str, object], message: str
):
    start(run)

    with pytest.raises(
        BulkError, match=f"out was begun with {message}; repeat the first command, or name a new"
    ):
        start(replace(run, **changes))  # pyright: ignore[reportArgumentType]


def test_an_output_with_other_files_or_inside_the_source_is_rejected(run: BulkOptions, shards: Shards):
    with pytest.raises(
        BulkError, match="photos has files and is no output of this command; name a new folder"
    ):
        start(replace(run, source=run.out, out=run.source))
    with pytest.raises(
        BulkError, match=r"photos/out is in the source .*photos; name an output outside of it"
    ):
        start(replace(run, out=f"{run.source}out"))
    with pytest.raises(BulkError, match="is in the source"):
        start(replace(run, out=run.source))
    assert shards == []


def test_a_source_without_photos_is_rejected(run: BulkOptions, shards: Shards):
    for number in range(10):
        storage.delete(f"{run.source}{number % 2}/{number}.jpg")

    with pytest.raises(
        BulkError, match=r"there are no photos in .*photos \(2 other files\); correct the address"
    ):
        start(run)
    assert start(replace(run, any_name=True, out=f"{run.out}2")).num_scored == 2


def test_a_folder_that_does_not_exist_is_named(run: BulkOptions, shards: Shards):
    with pytest.raises(BulkError, match=r"there is no folder .*/nowhere; correct the address"):
        start(replace(run, source=f"{run.source.rstrip('/')}/nowhere"))


def test_files_of_any_name_are_scored_on_request(run: BulkOptions, shards: Shards):
    summary = start(replace(run, any_name=True))

    assert (summary.num_scored, summary.listing.num_skipped) == (12, 0)


def test_an_error_of_a_worker_stops_the_run_and_is_resumed(
    run: BulkOptions, shards: Shards, monkeypatch: pytest.MonkeyPatch
):
    write_rows = RunFolder.write_rows

    def full_disk(self: RunFolder, shard: int, content: bytes) -> None:
        if shard == 1:
            raise StorageError("no space is left on the disk")
        write_rows(self, shard, content)

    with monkeypatch.context() as patch, pytest.raises(BulkError, match="no space is left on the disk"):
        patch.setattr(RunFolder, "write_rows", full_disk)
        start(run)

    assert start(run).num_scored == 7 and names_of(run) == NAMES


def test_a_damaged_file_of_the_output_is_rejected(run: BulkOptions, shards: Shards):
    start(run)
    storage.write_bytes(f"{run.out}/run.json", b"{}")

    with pytest.raises(
        BulkError, match=r"run\.json is damaged or of another version of skinserve; name a new"
    ):
        start(run)


def test_two_processes_do_not_score_into_one_folder(tmp_path: Path, shards: Shards):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"a")
    run = BulkOptions(source=str(tmp_path / "photos"), out=str(tmp_path / "out"), scorer=TextScorer())

    @contextlib.contextmanager
    def second() -> Iterator[None]:
        with pytest.raises(BulkError, match=r"another command is scoring into .*out; wait or stop it"):
            start(run)
        yield

    assert score(run, Recorder(), second).num_scored == 1


def test_a_command_that_was_killed_before_its_settings_were_written_is_begun_again(
    tmp_path: Path, shards: Shards
):
    storage.write_bytes(str(tmp_path / "photos" / "a.jpg"), b"a")
    out = tmp_path / "out"
    storage.write_bytes(str(out / ".lock"), b"")
    storage.write_bytes(str(out / ".run.json.0123456789ab"), b"half")
    run = BulkOptions(source=str(tmp_path / "photos"), out=str(out), scorer=TextScorer())

    assert start(run).num_scored == 1
    assert start(run).num_scored == 0


def test_a_first_command_with_other_settings_cannot_come_between(
    tmp_path: Path, shards: Shards, monkeypatch: pytest.MonkeyPatch
):
    storage.write_bytes(str(tmp_path / "photos" / "a.jpg"), b"a")
    run = BulkOptions(source=str(tmp_path / "photos"), out=str(tmp_path / "out"), scorer=TextScorer())
    second = replace(run, scorer=TextScorer(version="2"))
    write = storage.write_bytes

    def start_second(address: str, content: bytes) -> None:
        if address.endswith("/run.json"):
            monkeypatch.setattr(run_folder, "write_bytes", write)
            with pytest.raises(BulkError, match="another command is scoring into"):
                start(second)
        write(address, content)

    monkeypatch.setattr(run_folder, "write_bytes", start_second)

    assert start(run).num_scored == 1
    with pytest.raises(BulkError, match="version 1, now it is 2"):
        start(second)


def test_a_folder_with_other_files_gets_no_lock_file(tmp_path: Path, shards: Shards):
    for name in ("photos/a.jpg", "letters/letter.txt"):
        storage.write_bytes(str(tmp_path / name), b"a")
    run = BulkOptions(source=str(tmp_path / "photos"), out=str(tmp_path / "letters"), scorer=TextScorer())

    with pytest.raises(BulkError, match="has files and is no output of this command"):
        start(run)

    assert [file.name for file in (tmp_path / "letters").iterdir()] == ["letter.txt"]


def test_half_written_files_of_killed_workers_are_removed(tmp_path: Path, shards: Shards):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"a")
    run = BulkOptions(source=str(tmp_path / "photos"), out=str(tmp_path / "out"), scorer=TextScorer())
    start(run)
    scratch = tmp_path / "out" / "rows" / ".part-0000001.parquet.0123456789ab"
    scratch.write_bytes(b"half")

    start(run)

    assert not scratch.exists()
    assert pq.read_table(tmp_path / "out" / "rows").num_rows == 1


def test_an_unexpected_error_of_a_worker_names_shard_and_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = RunFolder(str(tmp_path), "parquet")

    def broken(self: RunFolder, shard: int) -> None:
        raise RuntimeError("CUDA error:\n out of memory")

    monkeypatch.setattr(RunFolder, "read_manifest", broken)
    work = ShardWork(
        folder=folder, source=run_module.Source(address="/none"), scorer=TextScorer(), format="parquet"
    )

    assert work.score(7).error == "a worker failed on shard 7 (RuntimeError: CUDA error: out of memory)"


def test_a_shard_that_ends_its_workers_stops_the_run(tmp_path: Path):
    folder = RunFolder(str(tmp_path), "parquet")
    work = ShardWork(
        folder=folder, source=run_module.Source(address="/none"), scorer=TextScorer(), format="parquet"
    )

    assert [work.count_crash(4) for _ in range(2)] == [None, None]
    result = work.count_crash(4)
    assert result is not None and "shard 4 has ended its worker 3 times" in result.error
    assert "manifest/0000004.json" in result.error
    folder.forget_crashes()
    assert work.count_crash(4) is None
