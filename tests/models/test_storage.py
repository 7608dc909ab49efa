import errno
import http.server
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from models import storage
from models.s3_client import reset_client, s3_client
from models.storage import MissingError, StorageError
from tests.local_bucket import environment_of, new_bucket, s3_server


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture
def bucket(endpoint: str) -> Iterator[str]:
    with new_bucket("lesions") as address:
        yield address


@pytest.fixture
def fast_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)


class Script:
    """Responses of a fake S3 server: the statuses in order, then the last one for ever."""

    def __init__(self, *statuses: int, body: bytes = b"content", declared_bytes: int | None = None) -> None:
        self.statuses = list(statuses)
        self.body = body
        self.declared_bytes = len(body) if declared_bytes is None else declared_bytes
        self.num_requests = 0


@pytest.fixture
def scripted() -> Iterator[Callable[[Script], str]]:
    servers: list[http.server.ThreadingHTTPServer] = []

    def start(script: Script) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.send_response(script.statuses[0])
                self.send_header("Content-Length", str(script.declared_bytes))
                self.send_header("ETag", '"1"')
                self.end_headers()

            def do_GET(self) -> None:
                status = script.statuses[min(script.num_requests, len(script.statuses) - 1)]
                script.num_requests += 1
                body, length = b"", 0
                if status == 200:
                    body, length = script.body, script.declared_bytes
                self.send_response(status)
                self.send_header("Content-Length", str(length))
                self.send_header("ETag", '"1"')
                self.end_headers()
                self.wfile.write(body)
                self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "data") if request.param == "folder" else request.getfixturevalue("bucket")


def test_written_files_are_read_and_listed(place: str):
    for name in ("b/two.txt", "a.txt", "b/c/three.txt"):
        storage.write_bytes(f"{place}/{name}", name.encode())

    assert storage.list_files(place) == [
        f"{place}/{name}" for name in ("a.txt", "b/c/three.txt", "b/two.txt")
    ]
    assert storage.list_files(f"{place}/b") == [f"{place}/b/c/three.txt", f"{place}/b/two.txt"]
    assert storage.read_bytes(f"{place}/b/two.txt") == b"b/two.txt"
    assert storage.exists(f"{place}/a.txt")
    assert not storage.exists(f"{place}/b")
    assert storage.list_files(f"{place}/nothing") == []


def test_writing_again_replaces(place: str):
    storage.write_bytes(f"{place}/a", b"old and long")
    storage.write_bytes(f"{place}/a", b"new")

    assert storage.read_bytes(f"{place}/a") == b"new"


def test_the_error_names_the_missing_file(place: str):
    with pytest.raises(MissingError, match=r"no (file|object) .*/nothing\.csv; correct"):
        storage.read_bytes(f"{place}/nothing.csv")


def test_a_folder_with_the_same_prefix_is_not_listed(bucket: str):
    storage.write_bytes(f"{bucket}/photos/1.jpg", b"")
    storage.write_bytes(f"{bucket}/photos_old/1.jpg", b"")

    assert storage.list_files(f"{bucket}/photos") == [f"{bucket}/photos/1.jpg"]


def test_all_pages_of_a_listing_are_read(bucket: str):
    for number in range(5):
        storage.write_bytes(f"{bucket}/many/{number}", b"")
    s3_client().meta.events.register(
        "before-parameter-build.s3.ListObjectsV2", lambda params, **_: params.update(MaxKeys=2)
    )

    assert len(storage.list_files(f"{bucket}/many")) == 5
    reset_client()


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o007, 0o660), (0o077, 0o600)])
def test_a_written_file_follows_the_umask_without_changing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, umask: int, mode: int
):
    before = os.umask(umask)
    calls: list[int] = []
    try:
        with monkeypatch.context() as patch:
            patch.setattr("os.umask", calls.append)
            storage.write_bytes(str(tmp_path / "a"), b"")
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode
    assert calls == []  # it is the umask of all threads


def test_a_full_disk_is_reported_and_the_old_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "manifest.parquet"
    storage.write_bytes(str(path), b"old")

    def no_space(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("models.storage.os.fsync", no_space)
    with pytest.raises(
        StorageError, match=r"no space is left on the disk for .*manifest\.parquet; free some"
    ):
        storage.write_bytes(str(path), b"new")

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_in_place_of_a_file_is_reported(tmp_path: Path):
    with pytest.raises(StorageError, match="cannot be read: is a directory"):
        storage.read_bytes(str(tmp_path))
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"cannot be written: (not a directory|file exists)"):
        storage.write_bytes(str(tmp_path / "file" / "a"), b"")


def test_an_interrupted_write_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupt(source: str, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("models.storage.os.replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        storage.write_bytes(str(tmp_path / "a"), b"new")

    assert list(tmp_path.iterdir()) == []


def test_missing_credentials_are_reported(scripted: Callable[[Script], str]):
    with (
        environment_of(scripted(Script(403)), with_credentials=False),
        pytest.raises(
            StorageError, match=r"no AWS credentials for s3://lesions/a, .*; set AWS_ACCESS_KEY_ID"
        ),
    ):
        storage.read_bytes("s3://lesions/a")


def test_a_folder_is_no_file_even_with_an_object_of_its_name(bucket: str):
    s3_client().put_object(Bucket="lesions", Key="photos/")  # as consoles of S3 do

    assert not storage.exists(f"{bucket}/photos/")
    assert not storage.exists(bucket)
    assert storage.list_files(f"{bucket}/photos/") == []


@pytest.mark.parametrize(
    "use",
    [
        storage.read_bytes,
        lambda address: storage.write_bytes(address, b""),
        lambda address: storage.list_files(f"{address}/"),
    ],
)
def test_a_missing_bucket_is_reported(endpoint: str, use: Callable[[str], object]):
    with (
        environment_of(endpoint),
        pytest.raises(StorageError, match="there is no bucket absent for s3://absent/a"),
    ):
        use("s3://absent/a")


@pytest.mark.usefixtures("fast_retries")
def test_three_503_responses_are_retried(scripted: Callable[[Script], str]):
    script = Script(503, 503, 503, 200)
    with environment_of(scripted(script)):
        assert storage.read_bytes("s3://lesions/a") == b"content"

    assert script.num_requests == 4


@pytest.mark.usefixtures("fast_retries")
def test_endless_503_responses_are_reported_after_eight_attempts(scripted: Callable[[Script], str]):
    script = Script(503)
    with (
        environment_of(scripted(script)),
        pytest.raises(StorageError, match="S3 returned 503 8 times; try again later"),
    ):
        storage.read_bytes("s3://lesions/a")

    assert script.num_requests == 8


@pytest.mark.usefixtures("fast_retries")
def test_a_truncated_body_is_retried_and_reported(scripted: Callable[[Script], str]):
    script = Script(200, body=b"half", declared_bytes=8)
    with (
        environment_of(scripted(script)),
        pytest.raises(StorageError, match=r"s3://lesions/a cannot be reached: .*check the network"),
    ):
        storage.read_bytes("s3://lesions/a")

    assert script.num_requests == 3


def test_denied_access_is_reported(scripted: Callable[[Script], str]):
    with (
        environment_of(scripted(Script(403))),
        pytest.raises(StorageError, match=r"access to s3://lesions/a is denied .*s3:ListBucket on lesions"),
    ):
        storage.read_bytes("s3://lesions/a")


@pytest.mark.usefixtures("fast_retries")
def test_an_unreachable_endpoint_is_reported():
    with (
        environment_of("http://127.0.0.1:9"),
        pytest.raises(StorageError, match=r"cannot be reached: .*check the network and AWS_ENDPOINT_URL"),
    ):
        storage.list_files("s3://lesions")


@pytest.mark.parametrize("address", ["s3://", "s3://lesions", "s3:///key"])
def test_an_address_without_bucket_or_key_is_rejected(address: str):
    with pytest.raises(StorageError, match="it has the form s3://bucket/key"):
        storage.read_bytes(address)


def test_a_folder_is_downloaded_once_and_again_after_a_change(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    storage.write_bytes(f"{bucket}/models/lesion/meta.json", b"{}")
    storage.write_bytes(f"{bucket}/models/lesion/deep/card.md", b"# Card")

    folder = storage.fetch_folder(f"{bucket}/models/lesion/", tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("models.storage._download", None)
        again = storage.fetch_folder(f"{bucket}/models/lesion", tmp_path)
    storage.write_bytes(f"{bucket}/models/lesion/meta.json", b"{ }")
    changed = storage.fetch_folder(f"{bucket}/models/lesion", tmp_path)

    assert folder == again != changed
    assert (folder / "meta.json").read_bytes() == b"{}"
    assert (folder / "deep" / "card.md").read_bytes() == b"# Card"
    assert (changed / "meta.json").read_bytes() == b"{ }"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([folder.name, changed.name])


def test_concurrent_downloads_of_a_folder_make_one_copy(bucket: str, tmp_path: Path):
    storage.write_bytes(f"{bucket}/models/meta.json", b"{}")

    with ThreadPoolExecutor(4) as pool:
        folders = set(pool.map(lambda _: storage.fetch_folder(f"{bucket}/models", tmp_path), range(4)))

    assert len(folders) == 1
    assert [path.name for path in tmp_path.iterdir()] == [folders.pop().name]


@pytest.mark.usefixtures("fast_retries")
def test_a_truncated_object_of_a_folder_is_retried_and_reported(
    scripted: Callable[[Script], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    script = Script(200, body=b"half", declared_bytes=8)
    monkeypatch.setattr("models.storage._objects", lambda address: [("models/a", '"1"')])
    with (
        environment_of(scripted(script)),
        pytest.raises(StorageError, match=r"s3://lesions/models/a cannot be reached: .*check the network"),
    ):
        storage.fetch_folder("s3://lesions/models", tmp_path)

    assert script.num_requests > 2
    assert list(tmp_path.iterdir()) == []


def test_a_failed_download_leaves_no_partial_folder(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("a", "b"):
        storage.write_bytes(f"{bucket}/models/{name}", b"")
    download = storage._download

    def second_fails(bucket: str, key: str, path: Path) -> None:
        if key.endswith("b"):
            raise StorageError("gone")
        download(bucket, key, path)

    monkeypatch.setattr("models.storage._download", second_fails)
    with pytest.raises(StorageError, match="gone"):
        storage.fetch_folder(f"{bucket}/models", tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_an_object_outside_its_folder_is_rejected(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("models.storage._objects", lambda address: [("models/../../evil", '"1"')])
    with pytest.raises(StorageError, match="points outside its folder"):
        storage.fetch_folder(f"{bucket}/models", tmp_path / "cache")


def test_a_local_folder_is_returned_unchanged(tmp_path: Path):
    assert storage.fetch_folder(str(tmp_path), tmp_path / "cache") == tmp_path
    with pytest.raises(MissingError, match="no folder"):
        storage.fetch_folder(str(tmp_path / "nothing"), tmp_path)


def test_an_empty_prefix_is_reported(bucket: str, tmp_path: Path):
    with pytest.raises(MissingError, match="there are no objects under s3://lesions/nothing"):
        storage.fetch_folder(f"{bucket}/nothing", tmp_path)


def test_a_folder_is_uploaded(place: str, tmp_path: Path):
    for name in ("checkpoint/a", "checkpoint/deep/b"):
        storage.write_bytes(str(tmp_path / name), name.encode())

    storage.upload_folder(tmp_path / "checkpoint", f"{place}/runs/1")

    assert storage.list_files(f"{place}/runs/1") == [f"{place}/runs/1/a", f"{place}/runs/1/deep/b"]
    assert storage.read_bytes(f"{place}/runs/1/deep/b") == b"checkpoint/deep/b"
    with pytest.raises(MissingError, match="no folder"):
        storage.upload_folder(tmp_path / "nothing", place)


def test_an_upload_into_a_missing_bucket_is_reported(endpoint: str, tmp_path: Path):
    (tmp_path / "a").touch()
    with environment_of(endpoint), pytest.raises(StorageError, match="no bucket absent for s3://absent/a"):
        storage.upload_folder(tmp_path, "s3://absent")


def test_threads_share_one_client(bucket: str):
    storage.write_bytes(f"{bucket}/a", b"content")
    reset_client()

    until = time.monotonic() + 30
    with ThreadPoolExecutor(16) as pool:
        contents = set(pool.map(lambda _: storage.read_bytes(f"{bucket}/a"), range(64)))

    assert contents == {b"content"}
    assert time.monotonic() < until


@pytest.mark.parametrize(
    ("folder", "name", "address"),
    [
        ("s3://lesions/photos/", "a.jpg", "s3://lesions/photos/a.jpg"),
        ("/data", "a.jpg", "/data/a.jpg"),
        ("/data", "s3://lesions/a.jpg", "s3://lesions/a.jpg"),
        ("s3://lesions", "/data/a.jpg", "/data/a.jpg"),
    ],
)
def test_addresses_are_joined(folder: str, name: str, address: str):
    assert storage.join(folder, name) == address


def test_parent_returns_the_folder_of_a_file():
    assert storage.parent("s3://lesions/photos/a.jpg") == "s3://lesions/photos"
    assert storage.parent("/data/a.jpg") == "/data"
    assert storage.parent("a.jpg") == "."


def test_sizes_are_listed(bucket: str, tmp_path: Path):
    for folder in (bucket, str(tmp_path)):
        assert storage.list_sizes(f"{folder}/photos") == []
        storage.write_bytes(f"{folder}/photos/a/one", b"1234")
        storage.write_bytes(f"{folder}/photos/two", b"")
        storage.write_bytes(f"{folder}/other", b"12")

        assert sorted(storage.list_sizes(f"{folder}/photos")) == [0, 4]
