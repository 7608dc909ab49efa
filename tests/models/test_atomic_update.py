import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.s3.responses import S3Response

from models import atomic_update, storage
from models.atomic_update import update_file
from models.s3_client import s3_client
from models.storage import StorageError
from tests.local_bucket import new_bucket, s3_server

ADD_LINES = """
import sys
from models.atomic_update import update_file

def added(before):
    return (before or b"") + sys.argv[2].encode() + b"\\n"

for _ in range(20):
    update_file(sys.argv[1], added)
"""


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    lock, put_object = threading.Lock(), S3Response.put_object

    def serial(response: S3Response) -> object:
        with lock:  # moto compares the ETag and stores the object without one
            return put_object(response)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(S3Response, "put_object", serial)
        with s3_server() as url:
            yield url


@pytest.fixture
def bucket(endpoint: str) -> Iterator[str]:
    with new_bucket("registry") as address:
        yield address


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.slow)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "new") if request.param == "folder" else request.getfixturevalue("bucket")


def test_the_first_change_gets_no_content_and_the_next_one_the_last(place: str):
    seen: list[bytes | None] = []

    for content in (b"one", b"two"):
        update_file(f"{place}/index", lambda before, new=content: seen.append(before) or new)

    assert seen == [None, b"one"]
    assert storage.read_bytes(f"{place}/index") == b"two"


def test_a_change_to_none_writes_nothing(place: str):
    update_file(f"{place}/index", lambda before: None)

    assert not storage.exists(f"{place}/index")


def test_no_change_of_two_processes_is_lost(place: str):
    workers = [
        subprocess.Popen([sys.executable, "-c", ADD_LINES, f"{place}/index", name]) for name in ("a", "b")
    ]

    assert [worker.wait(60) for worker in workers] == [0, 0]
    lines = storage.read_bytes(f"{place}/index").split()
    assert len(lines) == 40 and lines.count(b"a") == 20


def test_a_write_whose_response_was_lost_is_not_done_twice(bucket: str):
    calls = 0

    def appended(before: bytes | None) -> bytes:
        nonlocal calls
        calls += 1
        if calls == 1:  # as botocore does: the first attempt is stored, the second one finds another ETag
            s3_client().put_object(Bucket="registry", Key="index", Body=b"one\n")
        return (before or b"") + b"one\n"

    update_file(f"{bucket}/index", appended)

    assert storage.read_bytes(f"{bucket}/index") == b"one\n"


def test_constant_conflicts_are_an_error(bucket: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("models.atomic_update.time.sleep", lambda seconds: None)

    def overtaken(before: bytes | None) -> bytes:
        s3_client().put_object(Bucket="registry", Key="index", Body=(before or b"") + b"x")
        return b"mine"

    with pytest.raises(StorageError, match="changed by other writers 20 times in a row; run the command"):
        update_file(f"{bucket}/index", overtaken)


def test_a_missing_bucket_is_an_error(endpoint: str):
    with pytest.raises(StorageError, match="there is no bucket nothing for"):
        update_file("s3://nothing/index", lambda before: b"")


def test_a_held_lock_is_an_error_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(atomic_update, "LOCK_TIMEOUT_S", 0.1)
    address = str(tmp_path / "index")

    with atomic_update.file_lock(address), pytest.raises(StorageError, match="another command has been"):
        update_file(address, lambda before: b"")


def test_the_lock_of_a_killed_process_is_released(tmp_path: Path):
    address = str(tmp_path / "index")
    code = (
        "import os, signal, sys; from models.atomic_update import file_lock\n"
        "with file_lock(sys.argv[1]): os.kill(os.getpid(), signal.SIGKILL)"
    )

    assert subprocess.run([sys.executable, "-c", code, address]).returncode == -9
    update_file(address, lambda before: b"after")
    assert storage.read_bytes(address) == b"after"
