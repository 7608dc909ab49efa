import shutil
from pathlib import Path

import pytest
from PIL import Image

import ui.thumbnails
from ui.thumbnails import load_thumbnail
from ui.uploads import UploadFolder


@pytest.fixture
def upload(uploads: UploadFolder) -> dict[str, str]:
    path = uploads.path / "hash" / "photo.bmp"
    path.parent.mkdir()
    Image.new("RGB", (640, 480), "tan").save(path, "BMP")
    return {"path": str(path)}


def test_a_thumbnail_is_drawn_once_and_deleted_with_its_upload(uploads, upload, monkeypatch):
    first = load_thumbnail(uploads, upload)
    monkeypatch.setattr(ui.thumbnails, "make_preview", None)

    assert first is not None and (first.width_px, first.height_px) == (640, 480)
    assert load_thumbnail(uploads, upload) == first
    uploads.delete([upload])
    assert list(uploads.path.iterdir()) == []


@pytest.mark.parametrize("path", ["/etc/passwd", "../secret", "gone", ""])
def test_nothing_outside_the_folder_is_drawn(uploads, path):
    Image.new("RGB", (64, 64)).save(uploads.path.parent / "secret", "PNG")

    assert load_thumbnail(uploads, {"path": path and str(uploads.path / path)}) is None


def test_a_file_that_is_no_photo_has_no_thumbnail(uploads, upload):
    Path(upload["path"]).write_bytes(b"<html>")

    assert load_thumbnail(uploads, upload) is None


@pytest.mark.parametrize("remove", [lambda path: path.unlink(), lambda path: shutil.rmtree(path.parent)])
def test_no_thumbnail_is_left_of_an_upload_that_was_deleted_meanwhile(uploads, upload, monkeypatch, remove):
    make_preview = ui.thumbnails.make_preview

    def slow(photo: bytes, **options: int):
        remove(Path(upload["path"]))
        return make_preview(photo, **options)

    monkeypatch.setattr(ui.thumbnails, "make_preview", slow)
    load_thumbnail(uploads, upload)

    assert list(uploads.path.iterdir()) == []
