import asyncio
import errno
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from models import storage
from models.storage_errors import MissingBucketError, StorageError
from serve.jobs import job_work, runner
from serve.jobs.cancellation import StopEvent, run_to_end
from serve.jobs.job_work import LostGatewayError
from serve.jobs.records import JobRecord
from serve.jobs.scorer import PartFailure
from serve.jobs.store import JobStore, age_of, is_id, new_id
from serve.runtime.errors import ApiError
from tests.serve.fakes import error_of, picture
from tests.serve.jobs.archives import zip_of
from tests.serve.jobs.local_jobs import LocalServer, archive, local_server, record, until


@pytest.fixture(autouse=True)
def fast_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_work, "FIRST_RETRY_S", 0.01)
    monkeypatch.setattr(job_work, "LAST_RETRY_S", 0.05)


async def names_of(server: LocalServer, id: str) -> list[str]:
    return [row["name"] for row in await server.rows(id)]


async def test_a_part_of_a_lost_gateway_is_repeated(tmp_path: Path):
    async with local_server(tmp_path) as server:
        server.gateways.failures = [LostGatewayError("killed")]
        job = await server.wait((await server.post(archive(70)))["id"])

        assert await names_of(server, job["id"]) == [f"{index}.jpg" for index in range(70)]
        assert job["errors"] == 0 and len(server.gateways.requests) == 4


async def test_a_photo_that_ends_gateways_is_an_error_row(tmp_path: Path):
    async with local_server(tmp_path) as server:
        server.gateways.poison = "40.jpg"
        job = await server.wait((await server.post(archive(70)))["id"])
        rows = await server.rows(job["id"])

    assert [row["name"] for row in rows] == [f"{index}.jpg" for index in range(70)]
    assert [row["index"] for row in rows if "error" in row] == [40] and job["errors"] == 1
    assert rows[40]["error"]["code"] == "internal"


async def test_photos_of_another_job_that_end_gateways_make_no_error_rows(tmp_path: Path):
    one_in_each_part = {
        f"{'poison-' if index % 32 == 0 else ''}{index}.jpg": picture() for index in range(320)
    }
    async with local_server(tmp_path, max_concurrent_parts=2) as server:
        server.gateways.poison = "poison"
        bad = (await server.post(zip_of(one_in_each_part)))["id"]
        good = (await server.post(archive(128)))["id"]
        jobs = [await server.wait(id) for id in (bad, good)]

    assert [job["errors"] for job in jobs] == [10, 0]


async def test_a_suspected_photo_waits_for_a_slow_part_and_holds_up_no_other_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(job_work, "ALL_SLOTS_WAIT_S", 0.05)
    async with local_server(tmp_path, max_concurrent_parts=2, max_running_jobs=3) as server:
        server.gateways.gate.clear()
        server.gateways.waiting = slow = (await server.post(archive(1)))["id"]
        await until(lambda: len(server.gateways.requests) == 1)
        server.gateways.poison = "poison"
        bad = (await server.post(archive(2, name="poison-{}.jpg")))["id"]
        await until(lambda: server.gateways.num_ended == job_work.MAX_LOSSES)

        await server.wait((await server.post(archive(1)))["id"])
        assert server.gateways.num_ended == job_work.MAX_LOSSES
        server.gateways.poison, server.gateways.waiting = None, None
        server.gateways.gate.set()
        jobs = [await server.wait(id) for id in (slow, bad)]

    assert [job["errors"] for job in jobs] == [0, 0]


async def test_a_job_waits_for_a_source_and_fails_after_a_time(tmp_path: Path):
    reason = "photos of the job cannot be read"
    async with local_server(tmp_path, fail_after_s=0.3) as server:
        server.gateways.failures = [PartFailure(reason=reason)] * 3
        done = await server.wait((await server.post(archive(1)))["id"])
        server.gateways.failures = [PartFailure(reason=reason)] * 1000
        failed = await server.wait((await server.post(archive(70)))["id"], "failed")

    assert done["errors"] == 0
    assert failed["error"]["code"] == "jobs_unavailable" and reason in failed["error"]["message"]


async def test_a_failing_job_does_not_hold_up_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(job_work, "FIRST_RETRY_S", 60)
    async with local_server(tmp_path, max_concurrent_parts=1) as server:
        server.gateways.gate.clear()
        server.gateways.failing = (await server.post(archive(1)))["id"]
        other = (await server.post(archive(1)))["id"]
        server.gateways.gate.set()

        async with asyncio.timeout(15):
            await server.wait(other)


async def test_a_new_runner_resumes_without_scoring_twice(tmp_path: Path):
    async with local_server(tmp_path, max_concurrent_parts=1) as server:
        created = await server.post(archive(100))
        await until(lambda: (tmp_path / "results" / created["id"] / "000001.ndjson").exists())
        server.gateways.gate.clear()
        await asyncio.sleep(0.05)
    async with local_server(tmp_path) as server:
        job = await server.wait(created["id"])
        rows = await server.rows(job["id"])
        again = server.gateways.requests

    assert {request.part for request in again} <= {2, 3}
    assert (job["scored"], job["errors"]) == (100, 0)
    assert [row["name"] for row in rows] == [f"{index}.jpg" for index in range(100)]


async def test_a_deleted_job_is_cancelled_and_leaves_no_file(tmp_path: Path):
    async with local_server(tmp_path) as server:
        server.gateways.gate.clear()
        id = (await server.post(archive(70)))["id"]
        await until(lambda: len(server.gateways.requests) > 0)

        deleted = await server.http.delete(f"/v1/jobs/{id}")

        assert (deleted.status_code, deleted.content) == (204, b"")
        assert not [path for path in tmp_path.rglob("*") if path.is_file()]
        for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/results")):
            answer = await server.http.request(method, f"/v1/jobs/{id}{path}")
            assert error_of(answer)[:2] == (404, "not_found")
        server.gateways.gate.set()
        await server.wait((await server.post(archive(1)))["id"])


@pytest.mark.parametrize("write", ["write_rows", "write_record"])
async def test_a_write_that_is_in_progress_does_not_bring_a_deleted_job_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: str
):
    is_writing, may_write, real = threading.Event(), threading.Event(), getattr(JobStore, write)

    def slow(store: JobStore, *arguments: Any) -> None:
        if threading.current_thread().name.startswith("jobs"):  # not in the gateway
            is_writing.set()
            may_write.wait(10)
        real(store, *arguments)

    monkeypatch.setattr(JobStore, write, slow)
    async with local_server(tmp_path) as server:
        id = (await server.post(archive(1)))["id"]
        await until(is_writing.is_set)
        deleting = asyncio.create_task(server.http.delete(f"/v1/jobs/{id}"))
        await asyncio.sleep(0.2)
        may_write.set()
        assert (await deleting).status_code == 204
        await asyncio.sleep(0.2)

        assert not [path for path in tmp_path.rglob("*") if path.is_file()]


async def test_two_deletions_at_once_write_no_record_after_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    changes: list[str] = []
    write_record, delete = JobStore.write_record, JobStore.delete

    def slow(store: JobStore, id: str) -> None:
        time.sleep(0.1)  # the second call waits for the first
        delete(store, id)
        changes.append("deleted")

    def noted(store: JobStore, record: JobRecord) -> None:
        write_record(store, record)
        changes.append("written")

    async with local_server(tmp_path) as server:
        id = (await server.post(archive(1)))["id"]
        await until(lambda: not JobStore(str(tmp_path)).read_record(id).has_photos)
        monkeypatch.setattr(JobStore, "delete", slow)
        monkeypatch.setattr(JobStore, "write_record", noted)

        assert await asyncio.gather(server.jobs.delete(id), server.jobs.delete(id)) == [True, True]

    assert changes == ["written", "deleted"]


async def test_a_late_report_does_not_bring_a_deleted_job_back(tmp_path: Path):
    async with local_server(tmp_path) as server:
        id = (await server.post(archive(1)))["id"]
        await server.wait(id)
        stale = JobStore(str(tmp_path)).read_record(id)
        await server.http.delete(f"/v1/jobs/{id}")

        await server.jobs.add(stale)
        JobStore(str(tmp_path)).write_record(stale)

        assert await server.jobs.records(None, 10) == []
        assert await server.jobs.delete(id)
        await until(lambda: not (tmp_path / "records" / f"{id}.json").exists())
        assert await server.jobs.records(None, 10) == []


async def test_a_deletion_that_fails_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def away(store: JobStore, id: str) -> None:
        raise StorageError("away")

    with monkeypatch.context() as patch:
        patch.setattr(JobStore, "delete", away)
        async with local_server(tmp_path) as server:
            id = (await server.post(archive(1)))["id"]
            await server.wait(id)
            failed = await server.http.delete(f"/v1/jobs/{id}")
            found = await server.http.get(f"/v1/jobs/{id}")
    async with local_server(tmp_path):
        await until(lambda: not [path for path in tmp_path.rglob("*") if path.is_file()])

    assert error_of(failed)[1] == "jobs_unavailable" and error_of(found)[1] == "not_found"


async def test_work_in_a_thread_ends_before_its_cancelled_task():
    is_running, stop, ended = threading.Event(), StopEvent(), False

    def work() -> None:
        nonlocal ended
        is_running.set()
        stop.wait(10)
        time.sleep(0.2)
        ended = True

    with ThreadPoolExecutor(1) as threads:
        task = asyncio.create_task(run_to_end(threads, work, stop=stop))
        await until(is_running.is_set)
        for _ in range(2):
            task.cancel()
            await asyncio.sleep(0.05)
        with pytest.raises(asyncio.CancelledError):
            await task

        assert ended


async def test_jobs_of_several_callers_take_turns(tmp_path: Path):
    for caller in ("key:a", "key:a", "key:a", "key:b"):
        JobStore(str(tmp_path)).write_record(record(caller=caller))
    async with local_server(tmp_path, max_running_jobs=2) as server:
        server.gateways.gate.clear()

        def running() -> list[str]:
            return sorted(job.record.caller for job in server.jobs.runner._jobs.values() if job.task)

        await until(lambda: len(running()) == 2)

        assert running() == ["key:a", "key:b"]


async def test_a_full_disk_rejects_new_jobs_and_stops_no_running_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    real = os.fsync
    is_full = False

    def fsync(descriptor: int) -> None:
        if is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(storage.os, "fsync", fsync)
    async with local_server(tmp_path) as server:
        server.gateways.gate.clear()
        id = (await server.post(archive(70)))["id"]
        await until(lambda: len(server.gateways.requests) == 3)
        is_full = True
        server.gateways.gate.set()
        rejected = await server.http.post("/v1/jobs", content=archive(1))
        live = await server.http.post("/v1/lesion", content=picture())
        assert (await server.http.get(f"/v1/jobs/{id}")).json()["state"] in ("queued", "running")
        is_full = False
        job = await server.wait(id)
        await until(lambda: not (tmp_path / "photos" / id).exists())

    assert error_of(rejected)[:2] == (503, "jobs_unavailable") and rejected.headers["retry-after"]
    assert live.status_code == 200
    assert job["scored"] == 70


async def test_expired_jobs_and_orphans_are_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    old = "20200101T000000-0123456789abcdef"
    (tmp_path / "photos" / old).mkdir(parents=True)
    (tmp_path / "photos" / old / "000000.bin").write_bytes(b"a")
    (tmp_path / "photos" / "mine").mkdir()
    async with local_server(tmp_path, retention_days=0.5 / 86400) as server:
        id = (await server.post(archive(1)))["id"]
        await until(lambda: (tmp_path / "results" / id).exists())
        await until(lambda: not [path for path in tmp_path.rglob("*") if path.is_file()])

    assert (tmp_path / "photos" / "mine").exists() and not (tmp_path / "photos" / old).exists()


async def test_a_reservation_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(runner, "RESERVED_S", 0.1)
    async with local_server(tmp_path, max_unfinished_per_caller=1) as server:
        id = new_id()
        assert await server.jobs.reserve(id, "key:a") == await server.jobs.reserve(id, "key:a") == id
        assert isinstance(await server.jobs.reserve(new_id(), "key:a"), runner.Rejection)
        await until(lambda: not server.jobs.runner._reserved)
        id = new_id()
        assert await server.jobs.reserve(id, "key:a") == await server.jobs.reserve(id, "key:a") == id


async def test_a_reservation_whose_reply_is_lost_ends(tmp_path: Path):
    async with local_server(tmp_path) as server:
        reserve = server.jobs.reserve

        async def lost(id: str, caller: str) -> str:
            await reserve(id, caller)
            raise ApiError("jobs_unavailable", "lost")

        server.jobs.reserve = lost  # pyright: ignore[reportAttributeAccessIssue]
        answer = await server.http.post("/v1/jobs", content=archive(1))
        await until(lambda: not server.jobs.runner._reserved)

    assert error_of(answer)[1] == "jobs_unavailable"


async def test_a_record_of_a_gateway_that_ended_is_found(tmp_path: Path):
    async with local_server(tmp_path) as server:
        add, server.jobs.add = server.jobs.add, ignore  # pyright: ignore[reportAttributeAccessIssue]
        id = (await server.post(archive(1)))["id"]
        await server.wait(id)
        server.jobs.add = add


async def ignore(record: object) -> None: ...


async def test_damaged_records_are_ignored(tmp_path: Path):
    id = new_id()
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / f"{id}.json").write_text("{")
    async with local_server(tmp_path) as server:
        await server.wait((await server.post(archive(1)))["id"])
        assert error_of(await server.http.get(f"/v1/jobs/{id}"))[1] == "jobs_unavailable"


async def test_a_record_that_cannot_be_read_yet_holds_up_no_other_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    locked, other, is_locked, read = record(), record(), True, JobStore.read_record

    def read_unlocked(store: JobStore, id: str) -> JobRecord:
        if is_locked and id == locked.id:
            raise StorageError("permission denied")
        return read(store, id)

    monkeypatch.setattr(JobStore, "read_record", read_unlocked)
    for one in (locked, other):
        JobStore(str(tmp_path)).write_record(one)
    async with local_server(tmp_path) as server:
        await server.post(archive(1))
        first = {one.id for one in await server.jobs.records(None, 10)}
        is_locked = False
        await until(lambda: locked.id in server.jobs.runner._jobs)

    assert other.id in first and locked.id not in first


async def test_a_server_that_cannot_read_its_jobs_accepts_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def read_nothing(store: JobStore, id: str) -> JobRecord:
        raise StorageError("slow down")

    for _ in range(runner.MAX_UNREADABLE + 1):
        JobStore(str(tmp_path)).write_record(record())
    with monkeypatch.context() as patch:
        patch.setattr(JobStore, "read_record", read_nothing)
        async with local_server(tmp_path) as server:
            await asyncio.sleep(0.5)
            assert not server.jobs.runner.is_loaded
    async with local_server(tmp_path) as server:
        await until(lambda: server.jobs.runner.is_loaded)
        assert len(await server.jobs.records(None, 100)) == runner.MAX_UNREADABLE + 1


async def test_removed_files_fail_the_job(tmp_path: Path):
    async with local_server(tmp_path, fail_after_s=0.1) as server:
        server.gateways.gate.clear()
        id = (await server.post(archive(1)))["id"]
        for file in (tmp_path / "photos" / id).iterdir():
            file.unlink()
        server.gateways.gate.set()
        job = await server.wait(id, "failed")

    assert job["error"]["code"] == "jobs_unavailable"


async def test_a_bucket_of_the_store_that_is_missing_for_a_time_fails_no_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write_rows, missing = JobStore.write_rows, [MissingBucketError("no bucket clinic")] * 3

    def write_later(store: JobStore, id: str, number: int, rows: bytes) -> None:
        if missing:
            raise missing.pop()
        write_rows(store, id, number, rows)

    monkeypatch.setattr(JobStore, "write_rows", write_later)
    async with local_server(tmp_path) as server:
        job = await server.wait((await server.post(archive(3)))["id"])

    assert (job["scored"], job["errors"], missing) == (3, 0, [])


async def test_a_store_that_cannot_be_listed_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real, failures = storage.list_files, [StorageError("away")] * 3

    def list_files(address: str) -> list[str]:
        if failures:
            raise failures.pop()
        return real(address)

    monkeypatch.setattr(storage, "list_files", list_files)
    async with local_server(tmp_path) as server:
        await server.wait((await server.post(archive(1)))["id"])

    assert failures == []


def test_the_age_of_an_id():
    id = new_id()
    assert is_id(id) and age_of(id) < timedelta(minutes=1)
    assert age_of("20200101T000000-0123456789abcdef") > timedelta(days=1000)
    for text in ("", "a", f"{id}/..", f"../{id}", id.upper()):
        assert not is_id(text)
