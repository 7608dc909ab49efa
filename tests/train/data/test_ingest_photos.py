import io
import unicodedata
from pathlib import Path

import pillow_heif
import pytest
from PIL import Image

from tests.photo_source import Make, maker_in, photo_bytes, put_photos


@pytest.fixture
def made(tmp_path: Path) -> Make:
    return maker_in(tmp_path)


def test_a_photo_in_two_folders_counts_once(made: Make, tmp_path: Path):
    put_photos(str(tmp_path / "photos" / "HAM10000_images_part_1"), "ISIC_1.jpg", "ISIC_2.jpg", "ISIC_3.jpg")
    put_photos(str(tmp_path / "photos" / "ham10000_images_part_1"), "ISIC_1.jpg", "ISIC_2.jpg")
    (tmp_path / "photos" / "ham10000_images_part_1" / "ISIC_3.jpg").write_bytes(photo_bytes("other"))

    rows, report = made("image_id,lesion_id,dx\nISIC_1,HAM_1,nv\nISIC_2,HAM_2,mel\nISIC_3,HAM_3,nv\n")

    assert [row.image for row in rows] == [
        str(tmp_path / "photos" / "HAM10000_images_part_1" / f"ISIC_{number}.jpg") for number in (1, 2)
    ]
    assert "2 photos exist in several files of the same content; each counts once" in report.text()
    assert "1  several photos have this name: row 4" in report.text()


@pytest.mark.parametrize(("on_disk", "in_table"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_accents_match_in_both_forms(made: Make, tmp_path: Path, on_disk: str, in_table: str):
    disk, table = (unicodedata.normalize(form, "Zoë_ñ") for form in (on_disk, in_table))  # pyright: ignore[reportArgumentType]
    absolute = tmp_path / "photos" / f"b{table}.jpg"

    rows, _ = made(f"image,label\n{table},nv\n{absolute},nv\n", f"{disk}.jpg", f"b{disk}.jpg")

    assert [Path(row.image).name for row in rows] == [f"{disk}.jpg", f"b{disk}.jpg"]


def test_names_match_in_another_case_if_no_other_does(made: Make):
    rows, report = made(
        "image,label\nisic_0000001,nv\nisic_0000002.jpg,nv\nTWO,nv\ntwo,nv\nPhotos/Part_2/c.JPG,nv\n",
        *("ISIC_0000001.JPG", "ISIC_0000002.JPEG", "a/Two.jpg", "b/two.jpg", "part_2/C.jpg", "part_3/C.jpg"),
    )

    assert [row.name for row in rows] == ["ISIC_0000001", "ISIC_0000002", "two", "C"]
    assert "several photos have this name: row 4" in report.text()


@pytest.mark.parametrize("suffix", [".bmp", ".tif", ".TIFF", ".gif", ".heic", ".avif", ".jp2", ".webp"])
def test_every_format_of_photos_is_found(made: Make, tmp_path: Path, suffix: str):
    (tmp_path / "photos").mkdir()
    with Image.open(io.BytesIO(photo_bytes("a"))) as photo:
        write = (
            pillow_heif.from_pillow(photo.resize((64, 64))) if suffix == ".heic" else photo.resize((64, 64))
        )
        write.save(tmp_path / "photos" / f"a{suffix}")

    rows, _ = made("image,label\na.jpg,nv\n")

    assert [Path(row.image).name for row in rows] == [f"a{suffix}"]
