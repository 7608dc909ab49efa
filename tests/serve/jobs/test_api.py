import asyncio
import contextlib
import gzip
import json
import re
import zipfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from models import storage
from models.storage_errors import StorageError
from serve.jobs import scorer, sources
from serve.jobs.config import JobsConfig
from serve.jobs.scorer import MAX_YIELD_S
from serve.runtime.keys_file import KeyEntry, change_keys, key_digest
from tests.local_bucket import new_bucket, s3_server
from tests.serve.fakes import FakeModels, error_of, fake_app, picture
from tests.serve.jobs.archives import tar_of, zip_of
from tests.serve.jobs.local_jobs import local_server

PHOTO = zip_of({"a.jpg": picture()})


async def test_an_archive_is_scored_photo_by_photo(tmp_path: Path):
    photos = {f"case-{number}/a.jpg": picture() for number in range(70)} | {"broken.jpg": b"no photo"}

    async with local_server(tmp_path) as server:
        created = await server.post(zip_of(photos), headers={"x-request-id": "abc"})
        job = await server.wait(created["id"])
        rows = await server.rows(job["id"])
        single = (await server.http.post("/v1/lesion", content=picture())).json()

    assert (created["state"], created["photos"], created["request_id"]) == ("queued", 71, "abc")
    assert (job["scored"], job["errors"], job["model"]) == (71, 1, "lesion-fake@1")
    assert [row["name"] for row in rows] == list(photos)
    assert [row["index"] for row in rows] == list(range(71))
    assert rows[0]["result"] == single
    assert rows[-1]["error"]["code"] == "unsupported_type" and "result" not in rows[-1]
    assert list((tmp_path / "photos").iterdir()) == []


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

    monkeypatch.setattr(sources, "iter_files", away)
    async with local_server(tmp_path, sources=["s3://bucket"]) as server:
        answer = await server.http.post("/v1/jobs", json={"source": "s3://bucket/a"})

    assert error_of(answer)[:2] == (503, "jobs_unavailable") and "secret-host" not in answer.text


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
    models = FakeModels(delay_s=0.02)
    async with local_server(tmp_path, models, photos_at_once=2) as server:
        limiter = server.app.state.services["lesion"].photo_limiter
        with limiter.acquire():
            id = (await server.post(zip_of({f"{number}.jpg": picture() for number in range(40)})))["id"]
            await asyncio.sleep(MAX_YIELD_S / 2)
            during = models.num_calls
            await asyncio.sleep(MAX_YIELD_S)
            later = models.num_calls
        await server.wait(id)

    assert during == 0 and later == 2 and models.most_at_once == 2


async def test_jobs_keep_the_model_that_they_were_created_with(tmp_path: Path):
    async with local_server(tmp_path, retry_s=0.1) as server:
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
    assert found["max_photos"] == f"{config.max_photos:,}" and found["retry_s"] == f"{config.retry_s:g} s"
    names = ("max_unfinished_per_caller", "max_stored_per_caller", "max_unfinished", "max_running")
    for name in (*names, "parts_at_once", "photos_at_once", "keep_days"):
        assert found[name] == f"{getattr(config, name):g}", name


def test_settings_that_allow_too_much_are_rejected():
    for source in ("/", "", "s3://", "/a/../b"):
        with pytest.raises(ValueError, match="allows too much"):
            JobsConfig(folder="jobs", sources=(source,))
    absolute = JobsConfig(
        folder="jobs", sources=("a", "s3://b"), webhook_secret_file="c"
    ).with_absolute_paths()
    assert absolute.folder == str(Path("jobs").absolute()) and absolute.sources[1] == "s3://b"
    assert json.loads(absolute.model_dump_json())
