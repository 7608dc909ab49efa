import asyncio
import io
import json
import logging
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from PIL import Image

from serve.feedback import api
from serve.feedback.store import FeedbackStore
from serve.feedback.usage import BLOCK_BYTES
from serve.runtime.errors import EXAMPLES
from serve.runtime.keys_file import KeyEntry, change_keys, key_digest
from tests.local_bucket import environment_of, new_bucket, s3_server
from tests.serve.fakes import FakeModels, error_of, fake_app, picture, png_bomb
from tests.serve.feedback_fields import FIELDS, WITH_PHOTO

ROUTE = "/v1/feedback"
NAME = "Mrs-Secret.jpg"
SECRET = {"x-skinserve-proxy-secret": "secret-of-the-proxy"}
Connect = Callable[..., httpx.AsyncClient]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "feedback"


@pytest.fixture
async def connect(folder: Path) -> AsyncIterator[Connect]:
    """Return a client of a gateway with settings; by default it stores in ``folder``."""
    clients: list[httpx.AsyncClient] = []

    def connect(app: FastAPI | None = None, **gateway: Any) -> httpx.AsyncClient:
        app = app or fake_app(FakeModels(), gateway={"feedback": str(folder)} | gateway)
        transport = httpx.ASGITransport(app, client=("192.0.2.7", 1))
        clients.append(httpx.AsyncClient(transport=transport, base_url="http://server"))
        return clients[-1]

    yield connect
    for client in clients:
        await client.aclose()


async def send(
    client: httpx.AsyncClient,
    fields: dict[str, str] = FIELDS,
    photo: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> httpx.Response:
    """Send a form, as ``curl -F`` and browsers do."""
    files: list[tuple[str, Any]] = [(name, (None, text)) for name, text in fields.items()]
    if photo is not None:
        files.append(("photo", (NAME, photo)))
    return await client.post(ROUTE, files=files, headers=headers)


def stored(folder: Path) -> list[Path]:
    return sorted((folder / "records").glob("*")) if folder.exists() else []


def numberless(message: str) -> str:
    return re.sub(r"[\d.]+ MB", "N MB", message)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_the_list_of_models_says_whether_feedback_is_stored(connect: Connect):
    for client, is_stored in ((connect(), True), (connect(feedback=None), False)):
        assert (await client.get("/v1/models")).json()["feedback"] is is_stored


async def test_a_server_without_the_setting_stores_no_feedback(connect: Connect):
    client = connect(feedback=None)

    for answer in (await send(client), await client.delete(f"{ROUTE}/receipt")):
        status, code, message = error_of(answer)
        assert (status, code) == (404, "not_found") and "gateway.feedback" in message


async def test_feedback_is_stored_with_the_date_only(connect: Connect, folder: Path):
    answer = await send(connect())

    assert answer.status_code == 201 and answer.json()["photo_stored"] is False
    (file,) = stored(folder)
    record = json.loads(file.read_text())
    assert record.pop("received_on") == time.strftime("%Y-%m-%d", time.gmtime())
    assert record.pop("format") == 1
    assert {name: str(value) for name, value in record.items()} | {"consent": "true"} == FIELDS


async def test_a_photo_is_stored_upright_without_metadata_and_name(connect: Connect, folder: Path):
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "Mrs-Secret"
    sent = io.BytesIO()
    Image.new("RGB", (3000, 1500), (200, 120, 100)).save(sent, "JPEG", exif=exif, comment=b"Mrs-Secret")

    answer = await send(connect(), WITH_PHOTO, sent.getvalue())

    assert answer.json()["photo_stored"] is True
    ((_, record),) = FeedbackStore(str(folder), max_bytes=1).read_all()
    photo = getattr(record, "photo", None)
    assert photo is not None and b"Secret" not in photo and b"Exif" not in photo
    with Image.open(io.BytesIO(photo)) as image:
        assert (image.format, image.size) == ("JPEG", (1024, 2048))
        assert not image.getexif() and set(image.info) <= {
            "jfif",
            "jfif_version",
            "jfif_unit",
            "jfif_density",
        }
        pixel = image.getpixel((500, 500))
    assert isinstance(pixel, tuple)
    assert all(abs(found - wanted) < 4 for found, wanted in zip(pixel, (200, 120, 100), strict=True))


@pytest.mark.parametrize(
    "photo",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"<html>", id="web page"),
        pytest.param(picture()[:200], id="truncated"),
        pytest.param(png_bomb(10_000, 6000), id="too many pixels"),
        pytest.param(bytes(20_500_000), id="too large"),
    ],
)
async def test_a_photo_is_checked_like_one_of_a_lesion(connect: Connect, folder: Path, photo: bytes):
    client = connect()

    expected = error_of(await client.post("/v1/lesion", files={"file": photo}))

    assert error_of(await send(client, WITH_PHOTO, photo)) == expected
    assert stored(folder) == []


@pytest.mark.parametrize("missing", ["consent", "photo_consent"])
async def test_nothing_is_stored_without_consent(connect: Connect, folder: Path, missing: str):
    fields = {name: text for name, text in WITH_PHOTO.items() if name != missing}

    status, code, message = error_of(await send(connect(), fields, picture()))

    assert (status, code) == (422, "invalid_request") and f"{missing}=true" in message
    assert not folder.exists()


@pytest.mark.parametrize("name", ["surname", "Photo", ""])
async def test_unknown_fields_are_rejected(connect: Connect, folder: Path, name: str):
    assert error_of(await send(connect(), FIELDS | {name: "a"}))[1] == "invalid_request"
    assert not folder.exists()


async def test_two_photos_and_repeated_fields_are_rejected(connect: Connect, folder: Path):
    client = connect()
    fields = [(name, (None, text)) for name, text in WITH_PHOTO.items()]

    two = await client.post(ROUTE, files=[*fields, *[("photo", ("a.jpg", picture()))] * 2])
    repeated = await client.post(ROUTE, files=[*fields, ("consent", (None, "true"))])

    assert error_of(two)[1] == "too_many_photos" and error_of(repeated)[1] == "invalid_request"
    assert not folder.exists()


async def test_the_receipt_deletes_the_feedback_once(connect: Connect, folder: Path):
    client = connect()
    receipt = (await send(client, WITH_PHOTO, picture())).json()["receipt"]
    assert len(stored(folder)) == 1 and receipt not in stored(folder)[0].name

    deleted = await client.delete(f"{ROUTE}/{receipt}")

    assert (deleted.status_code, deleted.content, stored(folder)) == (204, b"", [])
    again = error_of(await client.delete(f"{ROUTE}/{receipt}"))
    malformed = [
        error_of(await client.delete(f"{ROUTE}/{text}")) for text in ("a", "a" * 4000, "%00", "..%5c")
    ]
    assert set(malformed) == {again} and again[:2] == (404, "not_found")


async def test_unknown_and_malformed_receipts_do_the_same_work(connect: Connect, monkeypatch: Any):
    reads: list[int] = []
    monkeypatch.setattr(
        "serve.feedback.store.storage.read_bytes", lambda address: reads.append(len(address)) or b""
    )
    monkeypatch.setattr("serve.feedback.store.storage.delete", lambda address: None)
    client = connect()

    for receipt in ("q0hXo2n8mIYd3Hn4b5a7Zg", "a", "a" * 4000):
        await client.delete(f"{ROUTE}/{receipt}")

    assert len(reads) == 3 and len(set(reads)) == 1


async def test_a_store_that_cannot_be_written_is_unavailable(
    connect: Connect, folder: Path, caplog: pytest.LogCaptureFixture
):
    folder.write_text("a file in place of the folder")
    client = connect()

    with caplog.at_level(logging.ERROR):
        failed = await send(client, WITH_PHOTO, picture())
        not_deleted = await client.delete(f"{ROUTE}/receipt")

    assert error_of(failed) == (503, "feedback_unavailable", EXAMPLES["feedback_unavailable"])
    assert error_of(not_deleted)[:2] == (503, "feedback_unavailable")
    assert str(folder) in caplog.text and str(folder) not in failed.text + not_deleted.text


async def test_a_full_store_is_reported(connect: Connect, folder: Path, monkeypatch: Any):
    app = fake_app(FakeModels(), gateway={"feedback": str(folder)})
    app.state.feedback._store = FeedbackStore(str(folder), max_bytes=2 * BLOCK_BYTES)
    client = connect(app)

    answers = [await send(client) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [201, 201, 503]
    assert error_of(answers[2])[1:] == ("feedback_unavailable", api.FULL)
    assert (await client.delete(f"{ROUTE}/{answers[0].json()['receipt']}")).status_code == 204
    assert (await send(client)).status_code == 201


@pytest.fixture
def proxy(tmp_path: Path) -> dict[str, str]:
    """Return the setting of a trusted proxy; its secret is in ``SECRET``."""
    (tmp_path / "secret").write_text(SECRET["x-skinserve-proxy-secret"])
    return {"name": "nginx", "secret_file": str(tmp_path / "secret")}


async def test_one_address_cannot_fill_the_store(connect: Connect, folder: Path, proxy: dict[str, str]):
    app = fake_app(
        FakeModels(),
        gateway={"feedback": str(folder), "trusted_proxy": proxy, "feedback_max_mb_per_address": 1},
    )
    app.state.feedback._store = FeedbackStore(
        str(folder), max_bytes=1_000_000_000, max_bytes_per_caller=2 * BLOCK_BYTES
    )
    client = connect(app)
    one, other = ({**SECRET, "x-forwarded-for": f"192.0.2.{number}"} for number in (7, 8))

    answers = [await send(client, headers=one) for _ in range(3)]
    german = await send(client, headers={**one, "accept-language": "de"})

    assert [answer.status_code for answer in answers] == [201, 201, 429]
    assert error_of(answers[2])[1:] == (
        "feedback_quota",
        "0.0 MB of feedback that was sent from 192.0.2.7 are stored, at most 1 MB are allowed, and nothing "
        "of this one was stored; delete some by its receipt, or ask the operator of this server",
    )
    assert numberless(error_of(answers[2])[2]) == numberless(EXAMPLES["feedback_quota"])
    assert "Quittung" in error_of(german)[2] and len(stored(folder)) == 2
    assert (await send(client, headers=other)).status_code == 201, "another address has its own"
    receipt = answers[0].json()["receipt"]
    assert (await client.delete(f"{ROUTE}/{receipt}", headers={**other})).status_code == 204
    assert (await send(client, headers=one)).status_code == 201, "the deletion gave the space back"
    content = b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())
    assert b"192.0.2" not in content


async def test_clients_without_a_known_address_share_their_limit(
    connect: Connect, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("serve.feedback.usage.BLOCK_BYTES", 600_000)
    client = connect(feedback_max_mb_per_address=1)
    forged = [{"x-forwarded-for": f"192.0.2.{number}"} for number in range(2)]

    answers = [await send(client, headers=headers) for headers in forged]

    assert [answer.status_code for answer in answers] == [201, 429]
    message = error_of(answers[1])[2]
    assert message.startswith("0.6 MB of feedback that was sent by all clients without a key together are")


async def test_the_limit_of_an_address_can_be_removed(
    connect: Connect, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("serve.feedback.usage.BLOCK_BYTES", 150_000_000)

    assert [(await send(connect())).status_code for _ in range(2)] == [201, 429]
    assert (await send(connect(feedback_max_mb_per_address=None))).status_code == 201


async def test_feedback_is_stored_in_a_bucket_and_deleted(connect: Connect):
    with s3_server(), new_bucket("clinic") as address:
        client = connect(feedback=f"{address}/feedback")
        sent = await send(client, WITH_PHOTO, picture())
        store = FeedbackStore(f"{address}/feedback", max_bytes=1)
        assert len(store.addresses()) == 1

        deleted = await client.delete(f"{ROUTE}/{sent.json()['receipt']}")

        assert (sent.status_code, deleted.status_code, store.addresses()) == (201, 204, [])


async def test_a_bucket_that_is_away_is_unavailable(connect: Connect, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)
    with environment_of("http://127.0.0.1:9"):
        client = connect(feedback="s3://clinic/feedback")

        assert error_of(await send(client))[:2] == (503, "feedback_unavailable")
        assert error_of(await client.delete(f"{ROUTE}/receipt"))[:2] == (503, "feedback_unavailable")


class SlowStore:
    """``FeedbackStore.add`` of the class waits until ``released`` is set."""

    def __init__(self) -> None:
        self.started, self.released = threading.Event(), threading.Event()
        self.removed: list[bool] = []
        self._add, self._remove = FeedbackStore.add, FeedbackStore.remove

    def add(self, store: FeedbackStore, *arguments: Any) -> None:
        self.started.set()
        self.released.wait(10)
        self._add(store, *arguments)

    def remove(self, store: FeedbackStore, receipt: str) -> bool:
        self.removed.append(self._remove(store, receipt))
        return self.removed[-1]


@pytest.fixture
def slow_store(monkeypatch: pytest.MonkeyPatch) -> SlowStore:
    slow = SlowStore()
    monkeypatch.setattr(FeedbackStore, "add", lambda store, *arguments: slow.add(store, *arguments))
    monkeypatch.setattr(FeedbackStore, "remove", lambda store, receipt: slow.remove(store, receipt))
    return slow


async def test_feedback_is_deleted_again_if_the_store_was_too_slow(
    connect: Connect, folder: Path, slow_store: SlowStore, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(api, "MAX_STORAGE_S", 0.1)

    answer = await send(connect())
    slow_store.released.set()

    assert error_of(answer)[:2] == (503, "feedback_unavailable")
    await until(lambda: slow_store.removed == [True])
    assert stored(folder) == []


async def test_feedback_is_deleted_again_if_its_request_has_ended(
    connect: Connect, folder: Path, slow_store: SlowStore
):
    request = asyncio.create_task(send(connect()))
    await until(slow_store.started.is_set)

    request.cancel()  # as at a deadline, or when the client disconnects
    with pytest.raises(asyncio.CancelledError):
        await request
    slow_store.released.set()

    await until(lambda: slow_store.removed == [True])
    assert stored(folder) == []


async def test_other_requests_are_answered_while_the_store_is_slow(
    connect: Connect, folder: Path, slow_store: SlowStore
):
    app = fake_app(FakeModels(), gateway={"feedback": str(folder)})
    client = connect(app)
    limiter = app.state.feedback.limiter
    pending = [asyncio.create_task(send(client)) for _ in range(api.MAX_REQUESTS_AT_ONCE)]
    await until(lambda: limiter._in_use == api.MAX_REQUESTS_AT_ONCE)

    assert (await client.post("/v1/lesion", content=picture())).status_code == 200
    assert error_of(await send(client))[:2] == (503, "overloaded")
    slow_store.released.set()

    assert {(await answer).status_code for answer in pending} == {201}


async def test_each_feedback_counts_as_one_photo(connect: Connect, folder: Path):
    client = connect(client_limit={"photos_per_day": 3})
    without_consent = {name: text for name, text in FIELDS.items() if name != "consent"}

    assert error_of(await send(client, without_consent))[0] == 422
    answers = [await send(client), await send(client, WITH_PHOTO, picture())]
    assert (await client.post("/v1/lesion", content=picture())).status_code == 200

    assert [answer.status_code for answer in answers] == [201, 201]
    assert error_of(await send(client))[1] == "rate_limited"
    assert len(stored(folder)) == 2
    assert (await client.delete(f"{ROUTE}/{answers[0].json()['receipt']}")).status_code == 204


async def test_feedback_that_was_not_stored_does_not_count(connect: Connect, folder: Path):
    folder.write_text("a file in place of the folder")
    client = connect(client_limit={"photos_per_day": 1})

    assert [(await send(client)).status_code for _ in range(3)] == [503] * 3


async def test_spam_without_a_key_is_limited_for_all_addresses_together(
    connect: Connect, folder: Path, proxy: dict[str, str]
):
    client = connect(feedback_per_minute=5, trusted_proxy=proxy, client_limit={"requests_per_second": 100})

    addresses = [{"x-forwarded-for": f"192.0.2.{number}"} for number in range(20)]

    answers = [await send(client, headers=SECRET | address) for address in addresses]

    statuses = [answer.status_code for answer in answers]
    assert statuses[:5] == [201] * 5 and set(statuses[6:]) == {429}
    assert len(stored(folder)) == statuses.count(201)
    _, code, message = error_of(answers[-1])
    assert code == "rate_limited" and message.startswith("more than 5 feedbacks per minute were sent by all")
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 12
    receipt = answers[0].json()["receipt"]
    assert (await client.delete(f"{ROUTE}/{receipt}")).status_code == 204
    assert (await client.post("/v1/lesion", content=picture())).status_code == 200


async def test_the_limit_of_callers_without_a_key_can_be_removed(connect: Connect):
    limited, unlimited = connect(feedback_per_minute=1), connect(feedback_per_minute=None)

    assert (await send(limited)).status_code == 201 and (await send(limited)).status_code == 429
    assert [(await send(unlimited)).status_code for _ in range(5)] == [201] * 5


async def test_a_key_has_its_own_limit_and_its_name_is_not_stored(
    connect: Connect, folder: Path, tmp_path: Path
):
    entry = KeyEntry.model_validate(
        {"name": "clinic-name", "sha256": key_digest("secret"), "roles": ["predict"]}
    )
    change_keys(tmp_path / "keys.yaml", lambda _: [entry])
    log = tmp_path / "audit.log"
    app = fake_app(
        FakeModels(),
        gateway={
            "feedback": str(folder),
            "feedback_per_minute": 1,
            "keys_file": str(tmp_path / "keys.yaml"),
            "audit_log": str(log),
        },
    )
    client = connect(app)
    key = {"authorization": "Bearer secret"}

    answers = [await send(client, WITH_PHOTO, picture(), headers=key) for _ in range(5)]
    receipts = [answer.json()["receipt"] for answer in answers]
    paths = [f"{ROUTE}/{receipt}" for receipt in receipts]
    without_key = await client.delete(paths[0])
    deleted = [await client.delete(path, headers=key) for path in paths[:2]]
    await client.delete(paths[0], headers=key)
    await client.get(paths[2], headers=key)
    app.state.audit_log.close()

    assert [answer.status_code for answer in answers] == [201] * 5
    assert without_key.status_code == 401 and [one.status_code for one in deleted] == [204, 204]
    content = b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())
    for secret in (b"clinic-name", b"192.0.2.7", NAME.encode(), key_digest("secret").encode()):
        assert secret not in content
    written = log.read_text()
    assert written.count('"/v1/feedback/{receipt}"') == 4 and written.count("clinic-name") == 9
    assert not [receipt for receipt in receipts if receipt in written]


async def test_a_page_of_an_allowed_origin_may_delete(connect: Connect):
    client = connect(allowed_origins=["https://clinic.example"])

    allowed = await client.options(
        f"{ROUTE}/receipt",
        headers={"origin": "https://clinic.example", "access-control-request-method": "DELETE"},
    )

    assert allowed.status_code == 200
