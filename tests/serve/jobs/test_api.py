import asyncio
import contextlib
import gzip
import re
import zipfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve.jobs.config import JobsConfig
from tests.serve.fakes import FakeModels, error_of, fake_app, picture
from tests.serve.jobs.archives import tar_of, zip_of
from tests.serve.jobs.local_jobs import archive, local_server

PHOTO = zip_of({"a.jpg": picture()})


async def test_an_archive_is_scored_photo_by_photo(tmp_path: Path):
    photos = {f"case-{number}/a.jpg": picture() for number in range(70)} | {"broken.jpg": b"no photo"}

    async with local_server(tmp_path) as server:
        created = await server.post(zip_of(photos), headers={"x-request-id": "abc"})
        job = await server.wait(created["id"])
        rows = await server.rows(job["id"])
        single = (await server.http.post("/v1/lesion", content=picture())).json()
        async with asyncio.timeout(10):
            while list((tmp_path / "photos").iterdir()):
                await asyncio.sleep(0.02)

    assert (created["state"], created["photos"], created["request_id"]) == ("queued", 71, "abc")
    assert (job["scored"], job["errors"], job["model"]) == (71, 1, "lesion-fake@1")
    assert [row["name"] for row in rows] == list(photos)
    assert [row["index"] for row in rows] == list(range(71))
    assert rows[0]["result"] == single
    assert rows[-1]["error"]["code"] == "unsupported_type" and "result" not in rows[-1]


@pytest.mark.parametrize("kind", ["zip", "deflated", "tar", "tar.gz", "gzip encoding"])
async def test_all_kinds_of_archives_are_accepted(tmp_path: Path, kind: str):
    photos = {"a.jpg": picture(), "../b.jpg": picture()}
    headers = {}
    if kind == "gzip encoding":
        archive, headers = gzip.compress(zip_of(photos)), {"content-encoding": "gzip"}
    elif kind.startswith("tar"):
        archive = tar_of(photos, mode="w:gz" if kind == "tar.gz" else "w")
    else:
        archive = zip_of(photos, zipfile.ZIP_DEFLATED if kind == "deflated" else zipfile.ZIP_STORED)

    async with local_server(tmp_path) as server:
        job = await server.wait((await server.post(archive, headers=headers))["id"])
        rows = await server.rows(job["id"])

    assert ["error" in row for row in rows] == [False, True]


async def test_the_reply_says_where_the_job_is(tmp_path: Path):
    async with local_server(tmp_path) as server:
        answer = await server.http.post("/v1/jobs", content=PHOTO)
        found = await server.http.get(answer.headers["location"])
        await server.wait(found.json()["id"])
        results = await server.http.get(found.json()["results"])

    assert found.json()["id"] == answer.json()["id"]
    assert results.headers["content-type"] == "application/x-ndjson"
    assert results.headers["x-job-state"] == "done"


async def test_a_server_without_the_setting_has_no_jobs():
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(fake_app(FakeModels())), base_url="http://server"
    ) as client:
        for method, path in (
            ("POST", ""),
            ("GET", ""),
            ("GET", "/a"),
            ("GET", "/a/results"),
            ("DELETE", "/a"),
        ):
            status, code, message = error_of(await client.request(method, f"/v1/jobs{path}"))
            assert (status, code) == (404, "not_found") and "gateway.jobs" in message


@pytest.mark.parametrize(
    ("archive", "code"),
    [
        (b"", "invalid_request"),
        (b"<html>", "unsupported_type"),
        (PHOTO[:-30], "unreadable_archive"),
        (zip_of({}), "invalid_request"),
        (zip_of({".hidden": b"a"}), "invalid_request"),
        (zip_of({f"{number}.jpg": b"a" for number in range(6)}), "too_many_photos"),
        (zip_of({"a.jpg": bytes(30_000)}), "too_large"),
    ],
)
async def test_archives_that_cannot_be_used_are_rejected_and_leave_nothing(
    tmp_path: Path, archive: bytes, code: str
):
    async with local_server(tmp_path, max_photos=5, max_archive_bytes=20_000) as server:
        answer = await server.http.post("/v1/jobs", content=archive)
        listed = (await server.http.get("/v1/jobs")).json()["jobs"]
        await asyncio.sleep(0.05)

    assert error_of(answer)[1] == code and listed == []
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


async def test_an_archive_in_a_form_is_rejected_with_what_to_send(tmp_path: Path):
    async with local_server(tmp_path) as server:
        answer = await server.http.post("/v1/jobs", files={"file": ("photos.zip", archive(1))})

    status, code, message = error_of(answer)
    assert (status, code) == (415, "unsupported_type")
    assert message.startswith("the body is a form; send the archive itself as the body")


async def test_an_upload_that_stops_leaves_nothing(tmp_path: Path):
    async def body() -> AsyncIterator[bytes]:
        yield PHOTO[:100]
        raise ConnectionError("cut")

    async with local_server(tmp_path) as server:
        with contextlib.suppress(ConnectionError):
            await server.http.post("/v1/jobs", content=body())
        await asyncio.sleep(0.1)
        unfinished = server.jobs.runner._reserved

        assert unfinished == {} and not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("model=nothing", "not_found"),
        ("model=progress-fake", "not_found"),
        ("task=progress", "invalid_request"),
        ("task=", "invalid_request"),
        ("webhook=https://example.org/", "invalid_request"),
        ("top_k=3", "invalid_request"),
    ],
)
async def test_wrong_parameters_are_rejected_before_the_upload(tmp_path: Path, query: str, code: str):
    async with local_server(tmp_path) as server:
        assert error_of(await server.http.post(f"/v1/jobs?{query}", content=PHOTO))[1] == code


@pytest.mark.parametrize(
    "url", ["http://example.org/", "https://127.0.0.1/", "https://[::1]/", "ftp://a/", "a"]
)
async def test_webhooks_are_checked(tmp_path: Path, url: str):
    secret = tmp_path / "secret"
    secret.write_text("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
    async with local_server(tmp_path / "jobs", webhook_secret_file=str(secret)) as server:
        answer = error_of(await server.http.post("/v1/jobs", content=PHOTO, params={"webhook": url}))

    assert answer[1] == "invalid_request" and "webhook" in answer[2]


async def test_jobs_keep_the_model_that_they_were_created_with(tmp_path: Path):
    async with local_server(tmp_path, fail_after_s=0.1) as server:
        server.gateways.gate.clear()
        id = (await server.post(PHOTO, params={"model": "lesion-fake"}))["id"]
        catalog = server.app.state.services["lesion"].catalog
        catalog.replace([entry_of_version(catalog.default, "2")])
        server.gateways.gate.set()
        job = await server.wait(id, "failed")

    assert job["model"] == "lesion-fake@1" and "no longer served" in job["error"]["message"]


def entry_of_version(entry: Any, version: str) -> Any:
    return replace(entry, meta=entry.meta.model_copy(update={"version": version}))


async def test_the_list_is_limited_and_newest_first(tmp_path: Path):
    async with local_server(tmp_path) as server:
        ids = [(await server.post(PHOTO))["id"] for _ in range(3)]
        for id in ids:
            await server.wait(id)
        listed = [job["id"] for job in (await server.http.get("/v1/jobs?limit=2")).json()["jobs"]]

    assert listed == [ids[2], ids[1]]


@pytest.mark.parametrize(
    "id", ["a", "..", "%2e%2e", "..%2f..%2fetc", "20260101T000000-0123456789abcdef", "%00"]
)
async def test_malformed_ids_are_unknown(tmp_path: Path, id: str):
    async with local_server(tmp_path) as server:
        assert error_of(await server.http.get(f"/v1/jobs/{id}"))[:2] == (404, "not_found")


async def test_names_of_photos_are_not_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    models = FakeModels(failure=ZeroDivisionError("a"))
    async with local_server(tmp_path, models) as server:
        job = await server.wait((await server.post(zip_of({"Mrs-Secret.jpg": picture()})))["id"])

    assert job["errors"] == 1 and job["id"] in caplog.text and "Secret" not in caplog.text


def test_the_guide_has_the_default_of_each_limit():
    guide = (Path(__file__).parents[3] / "docs" / "jobs.md").read_text(encoding="utf-8")
    config = JobsConfig(folder="jobs")
    found = dict(re.findall(r"^\| `(\w+)`[^|]*\| ([^|]+?) \|", guide, re.MULTILINE))

    assert found["max_archive_bytes"] == f"{config.max_archive_bytes / 1e9:g} GB"
    assert (
        found["max_photos"] == f"{config.max_photos:,}"
        and found["fail_after_s"] == f"{config.fail_after_s:g} s"
    )
    names = ("max_unfinished_per_caller", "max_stored_per_caller", "max_unfinished", "max_running_jobs")
    for name in (*names, "max_concurrent_parts", "max_concurrent_photos_per_gateway", "retention_days"):
        assert found[name] == f"{getattr(config, name):g}", name
