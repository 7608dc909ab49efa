import base64
import errno
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from models import storage
from models.s3_client import s3_client
from models.storage_errors import StorageError
from serve.feedback import store as store_module
from serve.feedback.schemas import FeedbackRecord
from serve.feedback.store import (
    CallerFullError,
    DamagedRecordError,
    FeedbackStore,
    StoreFullError,
    new_receipt,
)
from serve.feedback.usage import BLOCK_BYTES, group_of
from tests.local_bucket import new_bucket, s3_server
from tests.serve.feedback_fields import FIELDS

TODAY = date(2026, 11, 26)
CALLER, OTHER = "address:192.0.2.7", "address:192.0.2.8"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.slow)])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "folder":
        yield str(tmp_path / "feedback")
        return
    request.getfixturevalue("endpoint")
    with new_bucket("clinic") as address:
        yield f"{address}/feedback"


def record(photo: bytes | None = None) -> FeedbackRecord:
    fields = {name: text for name, text in FIELDS.items() if name != "consent"}
    encoded = None if photo is None else base64.b64encode(photo).decode()
    return FeedbackRecord.model_validate({**fields, "received_on": TODAY, "photo_jpeg": encoded})


def store_of(
    folder: str, *, max_bytes: int = 1_000_000, max_bytes_per_caller: int | None = None
) -> FeedbackStore:
    return FeedbackStore(folder, max_bytes=max_bytes, max_bytes_per_caller=max_bytes_per_caller)


def used_bytes(folder: str) -> int:
    return json.loads(storage.read_bytes(storage.join(folder, "usage.json")))["num_bytes"]


def test_a_record_is_one_file_named_by_the_digest_of_its_receipt(folder: str):
    store, receipt = store_of(folder), new_receipt(CALLER)

    store.add(receipt, record(b"photo"))

    (address,) = store.addresses()
    digest = hashlib.sha256(receipt.encode()).hexdigest()
    assert address == storage.join(folder, f"records/{digest}.json")
    assert receipt not in storage.read_bytes(address).decode()
    ((name, read),) = store.read_all()
    assert (name, read) == (digest, record(b"photo")) and record(b"photo").photo == b"photo"


def test_the_receipt_deletes_record_and_photo_and_frees_their_size(folder: str):
    store, receipts = store_of(folder), [new_receipt(CALLER), new_receipt(CALLER)]
    for receipt in receipts:
        store.add(receipt, record(bytes(10_000)))
    size = used_bytes(folder)

    assert store.remove(receipts[0])

    assert len(store.addresses()) == 1
    assert used_bytes(folder) == size / 2 > 10_000
    assert not store.remove(receipts[0]), "it is deleted"


@pytest.mark.parametrize("receipt", ["", "nothing", "../usage", "a" * 10_000, "\udcff", "*"])
def test_a_guess_deletes_nothing(folder: str, receipt: str):
    store = store_of(folder)
    store.add(new_receipt(CALLER), record())

    assert not store.remove(receipt)
    assert not store.remove(Path(store.addresses()[0]).stem), "the name of the file is no receipt"

    assert len(store.addresses()) == 1


def test_a_file_is_private_and_has_no_time_of_day(tmp_path: Path):
    store = store_of(str(tmp_path))

    store.add(new_receipt(CALLER), record())

    found = os.stat(store.addresses()[0])
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert found.st_mtime % 86_400 == 0


def test_records_above_the_total_size_are_rejected(folder: str):
    store = store_of(folder, max_bytes=3 * BLOCK_BYTES)
    receipts = [new_receipt(CALLER) for _ in range(3)]
    for receipt in receipts:
        store.add(receipt, record())

    with pytest.raises(StoreFullError, match=r"the limit; export and remove records, or raise gateway"):
        store.add(new_receipt(CALLER), record())
    store.remove(receipts[0])
    store.add(new_receipt(CALLER), record())

    assert len(store.addresses()) == 3


def test_one_caller_cannot_fill_the_store(folder: str):
    store = store_of(folder, max_bytes=6 * BLOCK_BYTES, max_bytes_per_caller=2 * BLOCK_BYTES)
    receipts = [new_receipt(CALLER) for _ in range(2)]
    for receipt in receipts:
        store.add(receipt, record())

    with pytest.raises(CallerFullError, match="the limit of each") as full:
        store_of(folder, max_bytes_per_caller=2 * BLOCK_BYTES).add(new_receipt(CALLER), record())
    store.add(new_receipt(OTHER), record())

    assert full.value.num_bytes == 2 * BLOCK_BYTES and len(store.addresses()) == 3
    store.remove(receipts[0])
    store.add(new_receipt(CALLER), record())
    with pytest.raises(CallerFullError):
        store.add(new_receipt(CALLER), record())


def test_neither_record_nor_count_has_the_address(folder: str):
    store = store_of(folder)
    store.add(new_receipt(CALLER), record())

    usage = storage.read_bytes(storage.join(folder, "usage.json"))
    assert b"192.0.2.7" not in usage + storage.read_bytes(store.addresses()[0])
    assert json.loads(usage)["bytes_by_group"] == {group_of(CALLER): BLOCK_BYTES}


def test_a_group_has_many_addresses():
    groups = {group_of(f"address:10.0.{high}.{low}") for high in range(64) for low in range(256)}

    assert 3900 < len(groups) <= 4096


def test_a_receipt_of_an_earlier_version_deletes_and_frees_the_total(folder: str):
    store, receipt = store_of(folder), secrets.token_urlsafe(16)
    store.add(receipt, record())

    assert store.remove(receipt) and used_bytes(folder) == 0


def test_records_that_are_removed_by_hand_free_the_size_of_callers(
    folder: str, monkeypatch: pytest.MonkeyPatch
):
    store = store_of(folder, max_bytes_per_caller=4 * BLOCK_BYTES)
    for caller in (CALLER, CALLER, CALLER, CALLER, OTHER, OTHER, OTHER, OTHER):
        store.add(new_receipt(caller), record())
    with pytest.raises(CallerFullError):
        store.add(new_receipt(CALLER), record())

    for address in store.addresses()[:4]:
        storage.delete(address)
    monkeypatch.setattr(store_module, "today", lambda: date(2100, 1, 1))
    store.add(new_receipt(CALLER), record())

    usage = json.loads(storage.read_bytes(storage.join(folder, "usage.json")))
    assert usage["num_bytes"] == sum(usage["bytes_by_group"].values()) == 5 * BLOCK_BYTES


def test_two_gateways_share_the_total_size(folder: str):
    one, other = store_of(folder, max_bytes=BLOCK_BYTES), store_of(folder, max_bytes=BLOCK_BYTES)
    one.add(new_receipt(CALLER), record())

    with pytest.raises(StoreFullError):
        other.add(new_receipt(CALLER), record())


def test_concurrent_writers_do_not_exceed_the_total_size(tmp_path: Path):
    def add(_: int) -> bool:
        try:
            store_of(str(tmp_path), max_bytes=10 * BLOCK_BYTES).add(new_receipt(CALLER), record())
        except StoreFullError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(add, range(24)))

    assert sum(results) == len(store_of(str(tmp_path)).addresses()) == 10


def test_the_records_are_listed_once_a_day_only(folder: str, monkeypatch: pytest.MonkeyPatch):
    store, lists = store_of(folder), []
    list_sizes = storage.list_sizes
    monkeypatch.setattr(storage, "list_sizes", lambda address: lists.append(address) or list_sizes(address))
    for _ in range(3):
        store.add(new_receipt(CALLER), record())
    assert len(lists) == 1

    storage.delete(store.addresses()[0])  # by hand
    monkeypatch.setattr(store_module, "today", lambda: date(2100, 1, 1))
    store.add(new_receipt(CALLER), record())

    assert len(lists) == 2 and used_bytes(folder) == 3 * BLOCK_BYTES


def test_a_full_store_is_not_listed_for_every_request(folder: str, monkeypatch: pytest.MonkeyPatch):
    store, lists = store_of(folder, max_bytes=1), []
    monkeypatch.setattr(storage, "list_sizes", lambda address: lists.append(address) or [])

    for _ in range(3):
        with pytest.raises(StoreFullError):
            store.add(new_receipt(CALLER), record())

    assert len(lists) == 1


def test_a_damaged_count_is_recounted(folder: str):
    store = store_of(folder)
    store.add(new_receipt(CALLER), record())
    storage.write_bytes(storage.join(folder, "usage.json"), b'{"num_bytes": -1}')

    store.add(new_receipt(CALLER), record())

    assert used_bytes(folder) == 2 * BLOCK_BYTES


@pytest.mark.parametrize("num_written", [0, 1], ids=["usage", "record"])
def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_written: int):
    store = store_of(str(tmp_path))
    calls = iter(range(100))
    fsync = os.fsync

    def full(descriptor: int) -> None:
        if next(calls) == num_written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr("models.storage.os.fsync", full)

    with pytest.raises(StorageError, match="no space is left on the disk"):
        store.add(new_receipt(CALLER), record(b"photo"))

    left = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert set(left) <= {"usage.json", ".usage.json.lock"}
    if num_written:
        assert used_bytes(str(tmp_path)) == 0


def test_a_record_whose_response_was_lost_is_deleted_again(endpoint: str, monkeypatch: pytest.MonkeyPatch):
    with new_bucket("clinic") as address:
        store, write_bytes = store_of(address), storage.write_bytes

        def lose_response(*arguments: object, **options: object) -> None:
            write_bytes(*arguments, **options)  # pyright: ignore[reportArgumentType]
            raise StorageError("the connection was lost")

        monkeypatch.setattr(storage, "write_bytes", lose_response)
        with pytest.raises(StorageError, match="was lost"):
            store.add(new_receipt(CALLER), record())

        assert store.addresses() == [] and used_bytes(address) == 0


def test_a_denied_bucket_is_an_error(endpoint: str):
    def denied(*arguments: object, **settings: object) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied"}}, "PutObject")

    with new_bucket("clinic") as address, pytest.MonkeyPatch.context() as patch:
        patch.setattr(s3_client(), "put_object", denied)

        with pytest.raises(StorageError, match="is denied"):
            store_of(address).add(new_receipt(CALLER), record())

        assert storage.list_files(address) == []


def test_a_damaged_record_is_reported_and_the_others_are_read(folder: str):
    store = store_of(folder)
    store.add(new_receipt(CALLER), record())
    for name, content in (("a", b"{"), ("b", b'{"photo_jpeg": "?"}'), ("c", b"")):
        storage.write_bytes(storage.join(folder, f"records/{name}.json"), content)

    read = [one for _, one in store.read_all()]

    assert sum(isinstance(one, DamagedRecordError) for one in read) == 3 and record() in read


def test_a_record_that_is_deleted_meanwhile_is_skipped(folder: str):
    store, receipts = store_of(folder), [new_receipt(CALLER), new_receipt(CALLER)]
    for receipt in receipts:
        store.add(receipt, record())

    reading = store.read_all()
    next(reading)
    for receipt in receipts:
        store.remove(receipt)

    assert list(reading) == []


def test_receipts_are_random_and_have_128_bits_and_a_group():
    receipts = {new_receipt(CALLER) for _ in range(1000)}

    assert len(receipts) == 1000 and all(len(receipt) == 25 for receipt in receipts)
