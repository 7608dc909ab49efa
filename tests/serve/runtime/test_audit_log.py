import json
import logging
import multiprocessing
import resource
import stat
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve.config import GatewayConfig
from serve.runtime.admission import publish_checks, serve_middlewares
from serve.runtime.audit_log import AuditLog, SharedFileHandler, open_audit_log
from serve.runtime.errors import overloaded
from serve.runtime.keys_file import KeyEntry, change_keys, key_digest
from tests.serve.fakes import FakeModels, fake_app, picture, uploads

FIELDS = ["time", "caller", "method", "route", "status", "request_id", "duration_s"]
SECRETS = ("secret-patient", "Mrs-Secret", "clinic-key", "wrong-key")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    keys = [
        KeyEntry.model_validate({"name": "clinic", "sha256": key_digest("clinic-key"), "roles": ["predict"]})
    ]
    change_keys(tmp_path / "keys.yaml", lambda _: keys)
    return tmp_path / "keys.yaml"


def client_of(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server")


def lines_of(*files: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def handler_of(file: Path, *, max_bytes: int = 10_000_000, num_files: int = 3) -> SharedFileHandler:
    return SharedFileHandler(file, max_bytes=max_bytes, num_files=num_files)


def write(handler: SharedFileHandler, *texts: str) -> None:
    for text in texts:
        handler.handle(logging.makeLogRecord({"msg": json.dumps(text)}))


# --- what is logged ---


async def test_each_request_but_health_checks_is_a_line(file: Path, keys_file: Path):
    app = fake_app(FakeModels(), gateway={"audit_log": str(file), "keys_file": str(keys_file)})
    key = {"authorization": "Bearer clinic-key"}

    async with client_of(app) as client:
        await client.get("/healthz")
        await client.head("/readyz")
        await client.post("/v1/lesion?box=secret-patient", content=picture(), headers={"x-request-id": "one"})
        await client.post("/v1/lesion", headers={"authorization": "Bearer wrong-key"}, content=picture())
        await client.post("/v1/lesion", headers=key | {"x-request-id": "two"}, content=picture())
        await client.post("/v1/lesion/batch", headers=key, files=uploads(picture()))
        await client.get("/secret-patient", headers=key)
        await client.head("/v1/models", headers=key)
        await client.request("MRS-SECRET", "/healthz", headers=key)
        await client.get("/docs/static/secret-patient", headers=key)
    app.state.audit_log.close()

    lines = lines_of(file)
    assert [(line["caller"], line["method"], line["route"], line["status"]) for line in lines] == [
        ("unknown", "POST", "/v1/lesion", 401),
        ("unknown", "POST", "/v1/lesion", 401),
        ("key:clinic", "POST", "/v1/lesion", 200),
        ("key:clinic", "POST", "/v1/lesion/batch", 403),
        ("key:clinic", "GET", None, 404),
        ("key:clinic", "HEAD", "/v1/models", 200),
        ("key:clinic", "other", "/healthz", 405),
        ("key:clinic", "GET", "/docs/static/{path}", 404),
    ]
    assert [lines[0]["request_id"], lines[2]["request_id"]] == ["one", "two"]
    assert all(list(line) == FIELDS and line["duration_s"] >= 0 for line in lines)
    assert time.time() - time.mktime(time.strptime(lines[0]["time"], "%Y-%m-%dT%H:%M:%S.%fZ")) < 86_400
    assert not any(secret.lower() in file.read_text().lower() for secret in SECRETS)


async def test_without_keys_callers_are_anonymous_and_rejections_by_a_limit_are_logged(file: Path):
    limit = {"requests_per_second": 1, "burst": 1}
    app = fake_app(FakeModels(), gateway={"audit_log": str(file), "client_limit": limit})

    async with client_of(app) as client:
        await client.get("/v1/models")
        await client.get("/v1/models")
    app.state.audit_log.close()

    assert [(line["caller"], line["status"]) for line in lines_of(file)] == [
        ("anonymous", 200),
        ("anonymous", 429),
    ]


async def test_rejections_before_the_gateway_are_logged(file: Path, keys_file: Path):
    app = fake_app(FakeModels(), gateway={"audit_log": str(file), "keys_file": str(keys_file)})

    def full() -> None:
        raise overloaded("full", 2)

    publish_checks({"/v1/lesion": full}, (), app.state.authorizer, app.state.audit_log)
    outer: Any = app
    for middleware in serve_middlewares():
        outer = middleware.cls(outer, *middleware.args, **middleware.kwargs)
    async with client_of(outer) as client:
        await client.post("/v1/lesion")
        await client.post("/v1/lesion", headers={"x-api-key": "clinic-key"})
    publish_checks({})
    app.state.audit_log.close()

    lines = lines_of(file)
    assert [(line["caller"], line["status"]) for line in lines] == [("unknown", 401), ("key:clinic", 503)]
    assert all(line["request_id"] for line in lines)


# --- the file ---


def test_only_the_user_of_the_server_may_read_the_files(file: Path):
    file.touch(mode=0o644)
    log = AuditLog(file, max_bytes=60, num_files=2)

    for number in range(20):
        log.write({"request": number})
    log.close()

    files = sorted(file.parent.iterdir())
    assert [one.name for one in files] == ["audit.log", "audit.log.1", "audit.log.2", "audit.log.lock"]
    assert {stat.S_IMODE(one.stat().st_mode) for one in files} == {0o600}
    kept = lines_of(*(file.with_name(f"audit.log{end}") for end in (".2", ".1", "")))
    assert [line["request"] for line in kept] == list(range(20))[-len(kept) :]
    assert all(one.stat().st_size <= 60 for one in files)


def _write_many(file: Path, writer: int) -> None:
    handler = handler_of(file, max_bytes=2_000, num_files=1_000)
    write(handler, *(f"{writer} {number}" for number in range(500)))


def test_processes_share_one_rotated_file_without_losing_a_line(file: Path):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_many, args=(file, number)) for number in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    files = [one for one in file.parent.iterdir() if one.suffix != ".lock"]
    assert sorted(map(str, lines_of(*files))) == sorted(f"{w} {n}" for w in range(3) for n in range(500))
    assert len(files) > 5


def test_a_file_renamed_by_logrotate_is_opened_again(file: Path):
    handler = handler_of(file)

    write(handler, "old")
    file.rename(file.with_suffix(".old"))
    write(handler, "new")

    assert [lines_of(file.with_suffix(".old")), lines_of(file)] == [["old"], ["new"]]


def test_a_full_disk_costs_whole_lines_and_is_logged_once(file: Path, caplog: pytest.LogCaptureFixture):
    handler = handler_of(file)
    write(handler, "first")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    resource.setrlimit(resource.RLIMIT_FSIZE, (50, limits[1]))
    try:
        write(handler, *("x" * 60 for _ in range(3)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    write(handler, "last")

    first, lost, last = lines_of(file)
    assert (first, lost["lost_lines"], last) == ("first", 3, "last")
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert "cannot be written" in caplog.messages[0] and "3 lines are missing" in caplog.messages[1]


async def test_requests_go_on_while_the_disk_does_not_answer(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    disk_answers = threading.Event()
    monkeypatch.setattr("serve.runtime.audit_log.MAX_QUEUED_LINES", 1)
    monkeypatch.setattr(SharedFileHandler, "handle", lambda *_: disk_answers.wait(60))
    app = fake_app(FakeModels(), gateway={"audit_log": str(file)})

    async with client_of(app) as client:
        answers = [await client.get("/v1/models") for _ in range(5)]
    disk_answers.set()

    assert [answer.status_code for answer in answers] == [200] * 5
    assert caplog.messages == [
        f"the audit log {file} cannot be written: the disk does not answer; requests go on and are not in it"
    ]


def test_a_file_that_cannot_be_opened_stops_the_start(tmp_path: Path):
    config = GatewayConfig(audit_log=str(tmp_path / "missing" / "audit.log"))

    with pytest.raises(ValueError, match="cannot be opened: No such file or directory; name a file in"):
        open_audit_log(config)


def test_there_is_no_log_by_default():
    assert open_audit_log(GatewayConfig()) is None
