import os
import stat
import time
from pathlib import Path

import pytest

from ui.uploads import UploadFolder, UploadMissingError, UploadTooLargeError


def upload(
    uploads: UploadFolder, data: bytes, *, name: str = "photo.jpg", age_s: float = 0
) -> dict[str, str]:
    folder = uploads.path / f"hash-{name}"
    folder.mkdir()
    path = folder / name
    path.write_bytes(data)
    for aged in (path, folder):
        os.utime(aged, times=(time.time() - age_s, time.time() - age_s))
    return {"path": str(path)}


def test_an_upload_is_read_unchanged_and_deleted_with_its_folder(uploads):
    photo = upload(uploads, b"every \x00 byte")

    assert uploads.read(photo) == b"every \x00 byte"
    uploads.delete([photo])

    assert list(uploads.path.iterdir()) == []


def test_only_this_user_can_read_the_folder(uploads):
    assert stat.S_IMODE(uploads.path.stat().st_mode) == 0o700


@pytest.mark.parametrize("path", ["/etc/passwd", "../secret.txt", "", None])
def test_a_path_outside_the_folder_is_neither_read_nor_deleted(uploads, path):
    secret = uploads.path.parent / "secret.txt"
    secret.write_text("secret")
    upload = {"path": path and str(uploads.path / path)}

    with pytest.raises(UploadMissingError, match="no longer on the server"):
        uploads.read(upload)
    uploads.delete([upload])

    assert secret.exists() and uploads.path.exists()


def test_a_link_out_of_the_folder_is_not_followed(uploads):
    secret = uploads.path.parent / "secret.txt"
    secret.write_text("secret")
    (uploads.path / "link.jpg").symlink_to(secret)

    with pytest.raises(UploadMissingError):
        uploads.read({"path": str(uploads.path / "link.jpg")})


@pytest.mark.parametrize("not_an_upload", ["photo.jpg", None, 3, []])
def test_an_upload_that_is_no_mapping_is_missing(uploads, not_an_upload):
    with pytest.raises(UploadMissingError):
        uploads.read(not_an_upload)


def test_a_photo_above_the_size_limit_is_not_read(uploads):
    photo = upload(uploads, bytes(1_100_000))

    with pytest.raises(UploadTooLargeError, match=r"Photo 3 has 1\.1 MB; at most 1 MB are allowed\. Choose"):
        uploads.read(photo, name="Photo 3")


def test_old_uploads_are_deleted_and_new_ones_stay(uploads):
    old = upload(uploads, b"old", name="old.jpg", age_s=100)
    new = upload(uploads, b"new", name="new.jpg", age_s=10)
    half = uploads.path / "tmp-cut-off"
    half.write_bytes(b"half")
    os.utime(half, times=(0, 0))

    uploads.delete_old()

    assert not Path(old["path"]).exists() and not half.exists()
    assert uploads.read(new) == b"new"


def test_a_new_process_deletes_what_a_killed_one_left_but_not_what_a_living_one_uses(tmp_path):
    limits = {"max_age_s": 60, "max_photo_bytes": 1000}
    killed, living = (UploadFolder(tmp_path, **limits) for _ in range(2))
    photo = upload(killed, b"left", age_s=100)
    for folder in (killed, living):
        os.utime(folder.path, times=(0, 0))
    living.delete_old()

    UploadFolder(tmp_path, **limits)

    assert not Path(photo["path"]).exists()
    assert living.path.exists()


def test_a_living_process_deletes_in_time_what_a_killed_one_left(tmp_path):
    limits = {"max_age_s": 60, "max_photo_bytes": 1000}
    killed, living = (UploadFolder(tmp_path, **limits) for _ in range(2))
    photo = upload(killed, b"left", age_s=50)

    living.delete_old()
    assert Path(photo["path"]).exists()
    living.delete_old(within_s=15)

    assert not Path(photo["path"]).exists()
    assert killed.path.exists()  # not as old itself: it may be a living one's


def test_the_folder_is_deleted_at_the_end(uploads):
    upload(uploads, b"photo")

    uploads.delete_all()

    assert not uploads.path.exists()
