import os
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import storage
from models.s3_client import s3_client
from models.storage_errors import MissingBucketError, StorageError
from models.storage_listing import iterate_files
from tests.local_bucket import new_bucket, s3_server

ODD_NAMES = (
    "a b.jpg",
    "ü.jpg",
    "%41.jpg",
    "+&=.jpg",
    "日本/.x/写真 1.jpg",
    "'\".jpg",
    "~.jpg",
)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture(params=["folder", "bucket"])
def root(request: pytest.FixtureRequest, endpoint: str, tmp_path: Path) -> Iterator[str]:
    if request.param == "folder":
        yield str(tmp_path / "photos")
        return
    with new_bucket("clinic") as bucket:
        yield f"{bucket}/photos"


def test_all_files_are_listed_in_the_same_order_with_size_and_version(root: str):
    for number, name in enumerate(ODD_NAMES):
        storage.write_bytes(f"{root}/{name}", bytes(number))

    found = list(iterate_files(root))

    assert {one.name: one.num_bytes for one in found} == {name: n for n, name in enumerate(ODD_NAMES)}
    assert found == list(iterate_files(root)) == list(iterate_files(f"{root}/"))
    storage.write_bytes(f"{root}/{ODD_NAMES[0]}", b"new content")
    assert [one.version for one in iterate_files(root)] != [one.version for one in found]
    assert [storage.read_bytes(f"{root}/{one.name}") for one in found if one.num_bytes == 3] == [bytes(3)]


def test_a_missing_folder_has_no_files(root: str):
    assert list(iterate_files(f"{root}/none")) == []


def test_several_pages_and_folder_markers(endpoint: str, monkeypatch: pytest.MonkeyPatch):
    with new_bucket("clinic") as bucket:
        names = [f"{number:04}" for number in range(10)]
        paginator = s3_client().get_paginator("list_objects_v2")
        pages_of_3 = partial(paginator.paginate, PaginationConfig={"PageSize": 3})
        monkeypatch.setattr(paginator, "paginate", pages_of_3)
        monkeypatch.setattr(s3_client(), "get_paginator", lambda name: paginator)
        for name in names:
            storage.write_bytes(f"{bucket}/p/{name}", b"x")
        storage.write_bytes(f"{bucket}/p/folder/", b"")
        storage.write_bytes(f"{bucket}/p2/other", b"")

        assert [one.name for one in iterate_files(f"{bucket}/p")] == names
        assert next(iter(iterate_files(bucket))).name == "p/0000"
        with pytest.raises(MissingBucketError, match="no bucket nowhere"):
            list(iterate_files("s3://nowhere/p"))


def test_links_pipes_and_broken_links(tmp_path: Path):
    root = tmp_path / "photos"
    (root / "real").mkdir(parents=True)
    (root / "real" / "a.jpg").write_bytes(b"abc")
    (root / "link.jpg").symlink_to(root / "real" / "a.jpg")
    (root / "loop").symlink_to(root)
    (root / "broken.jpg").symlink_to(root / "none")
    os.mkfifo(root / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(root / "socket.jpg"))

    sizes = {one.name: one.num_bytes for one in iterate_files(str(root))}

    assert sizes == {"broken.jpg": 0, "link.jpg": 3, "real/a.jpg": 3}


def test_names_that_are_not_utf_8_are_listed_and_readable(tmp_path: Path):
    name = os.fsdecode(b"caf\xe9.jpg")
    (tmp_path / name).write_bytes(b"abc")

    (found,) = iterate_files(str(tmp_path))

    assert found.name == name and storage.read_bytes(f"{tmp_path}/{found.name}") == b"abc"


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def denied(path: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", denied)

    with pytest.raises(StorageError, match="cannot be listed: permission denied"):
        list(iterate_files(str(tmp_path)))


@settings(max_examples=30)
@given(
    names=st.sets(
        st.lists(
            st.text(
                st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=9
            ).filter(lambda part: part not in (".", "..")),
            min_size=1,
            max_size=3,
        ).map("/".join),
        max_size=8,
    )
)
def test_every_name_is_listed_once(names: set[str], tmp_path_factory: pytest.TempPathFactory):
    root, written = tmp_path_factory.mktemp("names"), set[str]()
    for name in sorted(names):
        path = root / name
        if path.exists() or any(parent.is_file() for parent in path.parents):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        written.add(name)

    found = [one.name for one in iterate_files(str(root))]

    assert sorted(found) == sorted(written)
