"""Jobs of several callers: keys, limits, quotas, priority."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from models.storage_errors import StorageError
from serve.jobs.live_priority import QUIET_S, TURN_S
from serve.jobs.records import JobRecord
from serve.jobs.store import JobStore
from serve.runtime.keys_file import KeyEntry, change_keys, key_digest
from tests.serve.fakes import FakeModels, error_of, picture
from tests.serve.jobs.archives import zip_of
from tests.serve.jobs.local_jobs import local_server

PHOTO = zip_of({"a.jpg": picture()})


@pytest.fixture
def keys(tmp_path: Path) -> str:
    """Keys that are their own names."""
    limit = {"photos_per_day": 5}
    entries = [
        KeyEntry.model_validate({"name": name, "sha256": key_digest(name), "roles": roles, **more})
        for name, roles, more in (
            ("one", ["bulk"], {}),
            ("two", ["bulk"], {}),
            ("boss", ["admin"], {}),
            ("predictor", ["predict"], {}),
            ("poor", ["bulk"], {"limit": limit}),
        )
    ]
    change_keys(tmp_path / "keys.yaml", lambda _: entries)
    return str(tmp_path / "keys.yaml")


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def test_a_caller_has_its_own_jobs_only(tmp_path: Path, keys: str):
    async with local_server(tmp_path / "jobs", gateway={"keys_file": keys}) as server:
        mine = (await server.post(PHOTO, headers=bearer("one")))["id"]
        for method, path in (("GET", ""), ("GET", "/results"), ("DELETE", "")):
            other = await server.http.request(method, f"/v1/jobs/{mine}{path}", headers=bearer("two"))
            unknown = await server.http.request(
                method, f"/v1/jobs/{mine[:-4]}0000{path}", headers=bearer("two")
            )
            assert error_of(other) == error_of(unknown) and other.status_code == 404
            assert (await server.http.request(method, f"/v1/jobs/{mine}{path}")).status_code == 401
            rejected = await server.http.request(method, f"/v1/jobs/{mine}", headers=bearer("predictor"))
            assert error_of(rejected)[:2] == (403, "forbidden")
        lists = {
            key: [
                job["id"] for job in (await server.http.get("/v1/jobs", headers=bearer(key))).json()["jobs"]
            ]
            for key in ("one", "two", "boss")
        }
        deleted = await server.http.delete(f"/v1/jobs/{mine}", headers=bearer("boss"))

    assert lists == {"one": [mine], "two": [], "boss": [mine]}
    assert deleted.status_code == 204


async def test_photos_count_in_the_quota_when_the_job_is_accepted(tmp_path: Path, keys: str):
    archives = [zip_of({f"{number}.jpg": picture() for number in range(size)}) for size in (6, 4, 2, 1)]
    async with local_server(tmp_path / "jobs", gateway={"keys_file": keys}) as server:
        statuses = [
            (await server.http.post("/v1/jobs", content=archive, headers=bearer("poor"))).status_code
            for archive in archives
        ]
        await asyncio.sleep(0.1)
        stored = [
            job["photos"]
            for job in (await server.http.get("/v1/jobs", headers=bearer("boss"))).json()["jobs"]
        ]

    assert statuses == [429, 202, 429, 202]
    assert stored == [1, 4]


async def test_photos_count_even_if_the_deadline_passes_while_the_record_is_written(
    tmp_path: Path, keys: str, monkeypatch: pytest.MonkeyPatch
):
    is_writing, may_write, real = threading.Event(), threading.Event(), JobStore.write_record

    def write_record(store: JobStore, record: JobRecord) -> None:
        is_writing.set()
        may_write.wait(30)
        real(store, record)

    monkeypatch.setattr(JobStore, "write_record", write_record)
    archive = zip_of({f"{number}.jpg": picture() for number in range(5)})
    async with local_server(tmp_path / "jobs", gateway={"keys_file": keys}) as server:
        for deadline_s in (1, 4, 16):  # a slow machine may not come that far
            headers = bearer("poor") | {"x-request-timeout-seconds": str(deadline_s)}
            late = await server.http.post("/v1/jobs", content=archive, headers=headers)
            if is_writing.is_set():
                break
        may_write.set()
        more = await server.http.post("/v1/jobs", content=PHOTO, headers=bearer("poor"))
        async with asyncio.timeout(10):
            while not (jobs := (await server.http.get("/v1/jobs", headers=bearer("boss"))).json()["jobs"]):
                await asyncio.sleep(0.02)

    assert is_writing.is_set() and (late.status_code, more.status_code) == (504, 429)
    assert [job["photos"] for job in jobs] == [5]


async def test_photos_of_a_job_that_cannot_be_stored_are_given_back(
    tmp_path: Path, keys: str, monkeypatch: pytest.MonkeyPatch
):
    failures, real = [StorageError("away")], JobStore.write_record

    def write_record(store: JobStore, record: JobRecord) -> None:
        if failures:
            raise failures.pop()
        real(store, record)

    monkeypatch.setattr(JobStore, "write_record", write_record)
    archive = zip_of({f"{number}.jpg": picture() for number in range(5)})
    async with local_server(tmp_path / "jobs", gateway={"keys_file": keys}) as server:
        statuses = [
            (await server.http.post("/v1/jobs", content=archive, headers=bearer("poor"))).status_code
            for _ in range(3)
        ]

    assert statuses == [503, 202, 429]


async def test_jobs_of_a_caller_and_of_all_are_limited(tmp_path: Path, keys: str):
    limits: dict[str, Any] = {"max_unfinished_per_caller": 2, "max_unfinished": 3}
    async with local_server(tmp_path / "jobs", gateway={"keys_file": keys}, **limits) as server:
        server.gateways.gate.clear()
        first = (await server.post(PHOTO, headers=bearer("one")))["id"]
        await server.post(PHOTO, headers=bearer("one"))
        own = await server.http.post("/v1/jobs", content=PHOTO, headers=bearer("one"))
        await server.post(PHOTO, headers=bearer("two"))
        all_full = await server.http.post("/v1/jobs", content=PHOTO, headers=bearer("two"))
        await server.http.delete(f"/v1/jobs/{first}", headers=bearer("one"))
        await server.post(PHOTO, headers=bearer("one"))

    assert error_of(own)[:2] == (429, "rate_limited") and own.headers["retry-after"]
    assert error_of(all_full)[:2] == (503, "overloaded") and all_full.headers["retry-after"]


async def test_stored_jobs_of_a_caller_are_limited(tmp_path: Path):
    async with local_server(tmp_path, max_stored_per_caller=2) as server:
        for _ in range(2):
            await server.wait((await server.post(PHOTO))["id"])
        full = await server.http.post("/v1/jobs", content=PHOTO)

    assert error_of(full)[1] == "rate_limited" and "delete finished ones" in full.text


async def test_live_requests_go_first(tmp_path: Path):
    models = FakeModels(delay_s=0.01)
    async with local_server(tmp_path, models, max_concurrent_photos_per_gateway=2) as server:
        limiter = server.app.state.services["lesion"].photo_limiter
        with limiter.acquire():
            id = (await server.post(zip_of({f"{number}.jpg": picture() for number in range(40)})))["id"]
            await asyncio.sleep(3.5 * TURN_S)
            during = models.num_calls
        await asyncio.sleep(QUIET_S / 2)
        soon_after = models.num_calls
        await server.wait(id)

    assert 2 <= during <= 4 and soon_after <= during + 1 and models.most_at_once == 2
