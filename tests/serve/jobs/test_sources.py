"""Photo sources that clients may name, and a store in a bucket."""

import asyncio
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from models import storage
from models.storage_errors import MissingBucketError, StorageError
from serve.jobs import scorer, sources
from serve.jobs.cancellation import StopEvent
from serve.jobs.config import JobsConfig
from serve.jobs.parts import write_listed
from serve.jobs.records import PartItem
from serve.jobs.store import JobStore, new_id
from serve.runtime.errors import ApiError
from tests.local_bucket import new_bucket, s3_server
from tests.serve.fakes import error_of, picture
from tests.serve.jobs.archives import zip_of
from tests.serve.jobs.local_jobs import local_server


async def test_a_folder_is_scored(tmp_path: Path):
    photos = tmp_path / "photos of the clinic" / "2026"
    (photos / "b").mkdir(parents=True)
    (photos / "a.jpg").write_bytes(picture())
    (photos / "b" / "c.jpg").write_bytes(picture())
    (photos / "b" / ".hidden").write_bytes(b"a")
    (photos / "b" / "large.jpg").write_bytes(bytes(21_000_000))
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(picture())
    (photos / "link.jpg").symlink_to(secret)

    async with local_server(tmp_path / "jobs", sources=[str(photos.parent)]) as server:
        job = await server.wait(
            (await server.http.post("/v1/jobs", json={"source": f"{photos}/"})).json()["id"]
        )
        rows = await server.rows(job["id"])

    assert [row["name"] for row in rows] == ["a.jpg", "b/c.jpg", "b/large.jpg"]
    assert [row.get("error", {}).get("code") for row in rows] == [None, None, "too_large"]
    assert (photos / "a.jpg").exists()


async def test_a_photo_that_is_removed_or_becomes_a_link_is_an_error_row(tmp_path: Path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (photos / name).write_bytes(picture())

    async with local_server(tmp_path / "jobs", sources=[str(photos)]) as server:
        server.gateways.gate.clear()
        id = (await server.http.post("/v1/jobs", json={"source": str(photos)})).json()["id"]
        (photos / "a.jpg").unlink()
        (photos / "b.jpg").rename(tmp_path / "b.jpg")
        (photos / "b.jpg").symlink_to(tmp_path / "b.jpg")
        server.gateways.gate.set()
        await server.wait(id)
        rows = await server.rows(id)

    assert [row.get("error", {}).get("code") for row in rows] == ["not_found", "not_found", None]


async def test_a_name_that_is_not_utf8_is_an_error_row(tmp_path: Path):
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(picture())
    (photos / os.fsdecode(b"caf\xe9.jpg")).write_bytes(picture())

    async with local_server(tmp_path / "jobs", sources=[str(photos)]) as server:
        created = await server.http.post("/v1/jobs", json={"source": str(photos)})
        assert created.status_code == 202, created.text
        await server.wait(created.json()["id"])
        rows = await server.rows(created.json()["id"])

    assert [row["name"] for row in rows] == ["a.jpg", "caf?.jpg"]
    assert "error" not in rows[0] and "not UTF-8" in rows[1]["error"]["message"]


@pytest.mark.parametrize("leaves_folder", [True, False])
async def test_a_source_that_is_not_mounted_is_waited_for(tmp_path: Path, leaves_folder: bool):
    photos, away = tmp_path / "photos", tmp_path / "away"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(picture())

    async with local_server(tmp_path / "jobs", sources=[str(photos)]) as server:
        server.gateways.gate.clear()
        id = (await server.http.post("/v1/jobs", json={"source": str(photos)})).json()["id"]
        photos.rename(away)
        if leaves_folder:
            photos.mkdir()
        server.gateways.gate.set()
        async with asyncio.timeout(10):
            while len(server.gateways.requests) < 2:
                await asyncio.sleep(0.02)
        if leaves_folder:
            photos.rmdir()
        away.rename(photos)
        job = await server.wait(id)

    assert (job["scored"], job["errors"]) == (1, 0)


async def test_photos_of_a_source_that_is_mounted_during_its_check_are_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    photos, away = tmp_path / "photos", tmp_path / "away"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(picture())
    check = scorer.PartScorer._check_source

    def mount_and_check(self: scorer.PartScorer, job: str) -> None:
        away.rename(photos)
        check(self, job)

    monkeypatch.setattr(scorer.PartScorer, "_check_source", mount_and_check)
    async with local_server(tmp_path / "jobs", sources=[str(photos)]) as server:
        server.gateways.gate.clear()
        id = (await server.http.post("/v1/jobs", json={"source": str(photos)})).json()["id"]
        photos.rename(away)
        server.gateways.gate.set()
        job = await server.wait(id)

    assert (job["scored"], job["errors"]) == (1, 0)


async def test_a_bucket_that_is_missing_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(picture())
    real, failures = scorer.storage.read_bytes, [MissingBucketError("there is no bucket photos")]

    def read_bytes(address: str, **options: Any) -> bytes:
        if failures and address.endswith("a.jpg"):
            raise failures.pop()
        return real(address, **options)

    monkeypatch.setattr(scorer.storage, "read_bytes", read_bytes)
    async with local_server(tmp_path / "jobs", sources=[str(tmp_path / "photos")]) as server:
        created = await server.http.post("/v1/jobs", json={"source": str(tmp_path / "photos")})
        job = await server.wait(created.json()["id"])

    assert (job["errors"], failures) == (0, [])


@pytest.mark.parametrize(
    "source",
    [
        *("/etc", "/", "relative", "{0}/allowed/../other", "{0}/allowed-too", "{0}/allowed/link", "{0}"),
        *("s3://bucket", "s3://bucket/prefix-too", "s3://bucket/prefix/../other", "s3://other/prefix"),
        *("file:///etc", "http://127.0.0.1/", "s3://", "\x00", "{0}/allowed\x00"),
    ],
)
async def test_sources_that_are_not_allowed_are_forbidden(tmp_path: Path, source: str):
    for name in ("allowed", "other", "allowed-too"):
        (tmp_path / name).mkdir()
    (tmp_path / "allowed" / "link").symlink_to("/etc")
    allowed = [str(tmp_path / "allowed"), "s3://bucket/prefix/"]

    async with local_server(tmp_path / "jobs", sources=allowed) as server:
        body = {"source": source.format(tmp_path)}
        answer = error_of(await server.http.post("/v1/jobs", json=body))

    assert answer[1] in ("forbidden", "invalid_request")
    assert answer[1] == "forbidden" or "\x00" in source


async def test_paths_of_the_server_are_not_shown(tmp_path: Path):
    photos, link = tmp_path / "secret-disk", tmp_path / "photos"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(picture())
    link.symlink_to(photos)

    async with local_server(tmp_path / "jobs", sources=[str(link), "s3://secret-bucket"]) as server:
        created = await server.http.post("/v1/jobs", json={"source": f"{link}/"})
        job = await server.wait(created.json()["id"])
        forbidden = await server.http.post("/v1/jobs", json={"source": "/etc"})
        missing = await server.http.post("/v1/jobs", json={"source": f"{link}/b"})

    assert (job["source"], job["errors"]) == (f"{link}/", 0)
    assert error_of(forbidden)[1] == "forbidden" and error_of(missing)[1] == "invalid_request"
    assert "secret" not in created.text + forbidden.text + missing.text


async def test_a_source_without_photos_and_a_bad_body_are_rejected(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    async with local_server(tmp_path / "jobs", sources=[str(tmp_path / "empty")]) as server:
        for body in ({"source": str(tmp_path / "empty")}, {"source": str(tmp_path / "empty/missing")}):
            assert error_of(await server.http.post("/v1/jobs", json=body))[1] == "invalid_request"
        for text in ("", "[]", "{", "{}", '{"source": 3}', '{"source": "a", "b": 1}'):
            headers = {"content-type": "application/json"}
            answer = await server.http.post("/v1/jobs", content=text, headers=headers)
            assert error_of(answer)[1] == "invalid_request", text


async def test_sources_are_off_by_default(tmp_path: Path):
    async with local_server(tmp_path) as server:
        answer = error_of(await server.http.post("/v1/jobs", json={"source": "/etc"}))

    assert answer[1] == "forbidden" and "gateway.jobs.sources" in answer[2]


async def test_a_source_that_is_away_is_no_lost_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def away(address: str) -> Any:
        raise StorageError("bucket away: secret-host")

    monkeypatch.setattr(sources, "iter_regular_files", away)
    async with local_server(tmp_path, sources=["s3://bucket"]) as server:
        answer = await server.http.post("/v1/jobs", json={"source": "s3://bucket/a"})

    assert error_of(answer)[:2] == (503, "jobs_unavailable") and "secret-host" not in answer.text


async def test_listing_ends_with_its_request_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    num_listed = 0

    def slow(address: str) -> Iterator[tuple[str, int]]:
        nonlocal num_listed
        while num_listed < 200:
            num_listed += 1
            time.sleep(0.02)
            yield f"{address}/{num_listed}.jpg", 1

    monkeypatch.setattr(sources, "iter_regular_files", slow)
    async with local_server(tmp_path, sources=["s3://bucket"]) as server:
        headers = {"x-request-timeout-seconds": "0.5"}
        answer = await server.http.post("/v1/jobs", json={"source": "s3://bucket/a"}, headers=headers)
        await asyncio.sleep(0.2)
        num_at_end = num_listed
        await asyncio.sleep(0.2)

    assert answer.status_code == 504 and num_listed == num_at_end < 200


def test_parts_that_are_written_after_the_end_of_a_request_are_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    store, stop, id = JobStore(str(tmp_path)), StopEvent(), new_id()
    real = JobStore.write_part

    def write_part(store: JobStore, *arguments: Any) -> None:
        stop.set()
        real(store, *arguments)

    monkeypatch.setattr(JobStore, "write_part", write_part)
    items = [PartItem(name=f"{number}.jpg", address=f"s3://bucket/{number}.jpg") for number in range(1000)]

    with pytest.raises(ApiError, match="the request has ended"):
        write_listed(store, id, items, stop)

    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


async def test_hidden_files_of_a_source_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    files = [("s3://bucket/a/b.jpg", 1)] + [(f"s3://bucket/a/.{number}", 1) for number in range(1003)]
    monkeypatch.setattr(sources, "iter_regular_files", lambda address: iter(files))
    async with local_server(tmp_path, sources=["s3://bucket"], max_photos=1) as server:
        answer = error_of(await server.http.post("/v1/jobs", json={"source": "s3://bucket/a"}))

    assert answer[1] == "too_many_photos" and "hidden ones included" in answer[2]


async def test_the_store_of_jobs_may_be_a_bucket(tmp_path: Path):
    photos = {f"{number}.jpg": picture() for number in range(40)}
    with s3_server(), new_bucket("clinic") as bucket:
        async with local_server(f"{bucket}/jobs", sources=[f"{bucket}/photos"]) as server:
            for name, content in photos.items():
                await asyncio.to_thread(storage.write_bytes, f"{bucket}/photos/a/{name}", content)
            uploaded = await server.wait((await server.post(zip_of(photos)))["id"])
            created = await server.http.post("/v1/jobs", json={"source": f"{bucket}/photos/a"})
            listed = await server.wait(created.json()["id"])
            rows = [await server.rows(job["id"]) for job in (uploaded, listed)]
            deleted = await server.http.delete(f"/v1/jobs/{listed['id']}")
            left = await asyncio.to_thread(storage.list_files, f"{bucket}/jobs")

    assert [row["name"] for row in rows[0]] == list(photos)
    assert [row["name"] for row in rows[1]] == sorted(photos)
    assert not any("error" in row for row in rows[0] + rows[1])
    assert deleted.status_code == 204
    assert left and all(uploaded["id"] in file and "/photos/" not in file for file in left)


async def test_a_photo_that_cannot_be_read_is_tried_again_and_its_name_is_not_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "Mrs-Secret.jpg").write_bytes(picture())
    real, failures = scorer.storage.read_bytes, [StorageError(f"{photos}/Mrs-Secret.jpg cannot be reached")]

    def read_bytes(address: str, **options: Any) -> bytes:
        if failures and address.endswith("Secret.jpg"):
            raise failures.pop()
        return real(address, **options)

    monkeypatch.setattr(scorer.storage, "read_bytes", read_bytes)
    async with local_server(tmp_path / "jobs", sources=[str(photos)]) as server:
        created = await server.http.post("/v1/jobs", json={"source": str(photos)})
        job = await server.wait(created.json()["id"])

    assert job["errors"] == 0 and "cannot be reached" in caplog.text and "Secret" not in caplog.text


def test_settings_that_allow_too_much_are_rejected():
    for source in ("/", "", "s3://", "/a/../b"):
        with pytest.raises(ValueError, match="allows too much"):
            JobsConfig(folder="jobs", sources=(source,))
    absolute = JobsConfig(
        folder="jobs", sources=("a", "s3://b"), webhook_secret_file="c"
    ).with_absolute_paths()
    assert absolute.folder == str(Path("jobs").absolute()) and absolute.sources[1] == "s3://b"
    assert json.loads(absolute.model_dump_json())
