import errno
import io
import os
from pathlib import Path

import pytest

from models import storage
from models.limits import MAX_PHOTO_BYTES
from models.s3_client import s3_client
from models.storage_errors import MissingBucketError, MissingError, StorageError
from serve.bulk import source as source_module
from serve.bulk.source import Failure, Photo, Source, normalized
from tests.local_bucket import new_bucket, s3_server


def test_photos_are_known_by_their_suffix():
    source = Source(address="/photos")

    assert all(map(source.is_photo, ("a.jpg", "b/A.JPEG", "c.HeiC", "x.tif", ".jpg")))
    assert not any(map(source.is_photo, ("a.txt", "jpg", "a.jpg.part", "a.jp g", "Thumbs.db")))
    assert Source(address="/photos", any_name=True).is_photo("0d1f")


def test_photos_are_read_in_order_and_a_missing_one_fails_alone(tmp_path: Path):
    for number in range(30):
        (tmp_path / f"{number}.jpg").write_bytes(b"%d" % number)
    photos = [Photo(f"{number}.jpg", 2) for number in range(31)]

    contents = list(Source(address=str(tmp_path)).read_ahead(photos))

    assert contents[:30] == [b"%d" % number for number in range(30)]
    failure = contents[30]
    assert isinstance(failure, Failure) and failure.code == "missing"
    assert "is no longer there" in failure.message and str(tmp_path) not in failure.message


def test_an_unreadable_file_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "a.jpg").write_bytes(b"a")

    def denied(path: str, mode: str) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(storage, "open", denied, raising=False)

    (failure,) = Source(address=str(tmp_path)).read_ahead([Photo("a.jpg", 1)])

    assert failure == Failure(
        "unreadable_file", "the file cannot be read: permission denied; correct that", is_of_storage=True
    )


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EMFILE, errno.ETIMEDOUT])
def test_an_error_of_the_disk_is_retried_and_is_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
):
    monkeypatch.setattr(source_module, "RETRY_PAUSES_S", (0.0, 0.0))
    num_attempts = 0

    def read(path: str, mode: str) -> io.BytesIO:
        nonlocal num_attempts
        num_attempts += 1
        if num_attempts <= num_failures:
            raise OSError(number, os.strerror(number))
        return io.BytesIO(b"a")

    monkeypatch.setattr(storage, "open", read, raising=False)
    source, photo = Source(address=str(tmp_path)), Photo("a.jpg", 1)

    num_failures = 2
    assert source.read(photo) == b"a"
    num_failures, num_attempts = 3, 0
    with pytest.raises(StorageError, match=r"a\.jpg cannot be read: .*; correct that or the path"):
        list(source.read_ahead([photo]))
    assert num_attempts == 3


def test_a_folder_and_a_loop_of_links_fail_alone(tmp_path: Path):
    (tmp_path / "a.jpg").mkdir()
    (tmp_path / "b.jpg").symlink_to("b.jpg")
    (tmp_path / "c.jpg").write_bytes(b"c")
    photos = [Photo("a.jpg", 0), Photo("b.jpg", 0), Photo("c.jpg", 1)]

    *failures, content = Source(address=str(tmp_path)).read_ahead(photos)

    assert [one.code for one in failures if isinstance(one, Failure)] == ["unreadable_file"] * 2
    assert content == b"c"


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path):
    (failure,) = Source(address=str(tmp_path)).read_ahead([Photo("none.jpg", MAX_PHOTO_BYTES + 1)])

    assert isinstance(failure, Failure) and failure.code == "too_large"


def test_a_folder_that_is_gone_is_an_error_and_not_many_missing_photos(tmp_path: Path):
    source = Source(address=str(tmp_path / "unmounted"))
    os.mkdir(source.address)

    with pytest.raises(MissingError, match=r"unmounted has no files any more; mount or restore it"):
        list(source.read_ahead([Photo("a.jpg", 1)]))


def test_a_bucket_that_is_gone_is_an_error_and_a_missing_object_is_not(tmp_path: Path):
    with s3_server():
        with new_bucket("clinic") as bucket:
            storage.write_bytes(f"{bucket}/p/a.jpg", b"a")
            source = Source(address=f"{bucket}/p")
            contents = list(source.read_ahead([Photo("a.jpg", 1), Photo("b.jpg", 1)]))
            assert contents[0] == b"a" and isinstance(contents[1], Failure)
        with pytest.raises(MissingBucketError, match="no bucket clinic"):
            list(source.read_ahead([Photo("a.jpg", 1)]))


def test_a_bucket_whose_reads_are_denied_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with s3_server(), new_bucket("clinic") as bucket:
        denied = {"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}

        def get_object(**_: str) -> None:
            raise s3_client().exceptions.ClientError(denied, "GetObject")

        monkeypatch.setattr(s3_client(), "get_object", get_object)

        with pytest.raises(StorageError, match=r"access to s3://clinic/p/a\.jpg is denied"):
            list(Source(address=f"{bucket}/p").read_ahead([Photo("a.jpg", 1)]))


def test_addresses_are_absolute_and_have_no_slash_at_the_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)

    assert normalized("photos/") == str(tmp_path / "photos")
    assert normalized("s3://clinic/photos/") == "s3://clinic/photos"
