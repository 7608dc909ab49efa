import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from models import storage, storage_folders
from models.storage_errors import MissingError, StorageError
from models.storage_folders import delete_folder, iter_regular_files, list_folders
from tests.local_bucket import new_bucket, s3_server


@pytest.fixture(params=["folder", "bucket"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A folder with files, local and in a bucket."""
    if request.param == "folder":
        yield _filled(str(tmp_path / "root"))
        return
    with s3_server(), new_bucket("folders") as bucket:
        yield _filled(f"{bucket}/root")


def _filled(root: str) -> str:
    for name, size in (("a/1", 3), ("a/b/2", 0), ("c/3", 5), ("ab", 1)):
        storage.write_bytes(storage.join(root, name), bytes(size))
    storage.write_bytes(f"{root}-other/d/4", b"a")
    return root


def test_folders_are_listed_without_those_below(root: str):
    assert list_folders(root) == ["a", "c"]
    assert list_folders(f"{root}/a/") == ["b"]
    assert list_folders(f"{root}/missing") == []


def test_files_are_listed_with_their_sizes(root: str):
    sizes = {address.removeprefix(f"{root}/"): size for address, size in iter_regular_files(root)}

    assert sizes == {"a/1": 3, "a/b/2": 0, "c/3": 5, "ab": 1}
    assert [address for address, _ in iter_regular_files(root)] == [
        address for address, _ in iter_regular_files(root)
    ]


def test_a_removed_folder_leaves_the_others(root: str):
    delete_folder(f"{root}/a")
    delete_folder(f"{root}/a")

    assert {address for address, _ in iter_regular_files(root)} == {f"{root}/ab", f"{root}/c/3"}
    assert [size for _, size in iter_regular_files(f"{root}-other")] == [1]


def test_objects_are_removed_several_at_once(monkeypatch: pytest.MonkeyPatch):
    both = threading.Barrier(2, timeout=5)
    monkeypatch.setattr(storage_folders, "list_files", lambda address: [f"{address}/1", f"{address}/2"])
    monkeypatch.setattr(storage_folders, "delete", lambda address: both.wait())

    delete_folder("s3://bucket/a")


def test_links_and_special_files_are_left_out(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "folder").symlink_to("/etc")
    os.mkfifo(tmp_path / "fifo")

    assert list(iter_regular_files(str(tmp_path))) == [(str(tmp_path / "a"), 1)]


def test_a_missing_source_is_an_error(tmp_path: Path):
    with pytest.raises(MissingError):
        list(iter_regular_files(str(tmp_path / "missing")))
    with s3_server(), pytest.raises(StorageError):
        list(iter_regular_files("s3://missing-bucket/a"))


def test_a_read_is_limited(root: str):
    assert storage.read_bytes(f"{root}/c/3", max_bytes=2) == bytes(3)
    assert storage.read_bytes(f"{root}/c/3", max_bytes=5) == bytes(5)
