from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models import storage
from models.storage import StorageError
from tests.local_bucket import new_bucket, s3_server
from tests.strict_s3 import strict_s3
from train.data.manifest import (
    ManifestError,
    Row,
    fingerprint_of,
    load_manifest,
    read_manifest,
    write_manifest,
)

FULL = Row(
    image="/data/photos/ISIC_1.jpg",
    label="Nevus",
    patient="IP_1",
    lesion="IL_1",
    person="7",
    age_years=85.0,
    sex="female",
    site="anterior torso",
    skin_type="II",
    taken_at="2024-05-01T10:00:00+02:00",
    improvement=0.75,
    labeller="vader",
    label_scores='{"compound": 0.5}',
    licence="CC-BY",
    attribution="Someone",
    thumbnail=b"\x00\xff",
)
BARE = Row(image="s3://lesions/photos/ISIC_2.jpg", label="")


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_server(), new_bucket("lesions") as address:
        yield address


def test_rows_and_notes_are_read_back_from_a_file(tmp_path: Path):
    path = tmp_path / "deep" / "manifest.parquet"

    write_manifest([FULL, BARE], path, notes={"licence": "CC-BY", "indeterminate": "exclude"})

    assert read_manifest(path) == [FULL, BARE]
    assert load_manifest(path).notes == {"licence": "CC-BY", "indeterminate": "exclude"}


def test_rows_and_notes_are_read_back_from_s3(bucket: str):
    write_manifest([FULL, BARE], f"{bucket}/manifest.parquet", notes={"format": "isic"})

    assert read_manifest(f"{bucket}/manifest.parquet") == [FULL, BARE]
    assert load_manifest(f"{bucket}/manifest.parquet").notes == {"format": "isic"}


def test_a_folder_can_be_moved_with_its_photos(tmp_path: Path):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    write_manifest([replace(FULL, image=str(here / "photos" / "1.jpg"))], here / "manifest.parquet")

    here.rename(there)

    assert read_manifest(there / "manifest.parquet")[0].image == str(there / "photos" / "1.jpg")


def test_a_bucket_can_be_copied_with_its_photos(bucket: str):
    write_manifest([replace(FULL, image=f"{bucket}/old/photos/1.jpg")], f"{bucket}/old/m.parquet")

    storage.write_bytes(f"{bucket}/new/m.parquet", storage.read_bytes(f"{bucket}/old/m.parquet"))

    assert read_manifest(f"{bucket}/new/m.parquet")[0].image == f"{bucket}/new/photos/1.jpg"


def test_links_to_folders_and_photos_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for folder in ("disk/store", "disk/photos", "project"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "disk" / "store" / "a1b2").write_bytes(b"photo")
    (tmp_path / "disk" / "photos" / "ISIC_1.jpg").symlink_to(tmp_path / "disk" / "store" / "a1b2")
    (tmp_path / "project" / "data").symlink_to(tmp_path / "disk")
    monkeypatch.chdir(tmp_path / "project")

    write_manifest([replace(FULL, image="data/photos/ISIC_1.jpg")], "data/manifest.parquet")
    (row,) = read_manifest("data/manifest.parquet")

    assert row.name == "ISIC_1"
    assert Path(row.image).read_bytes() == b"photo"


def test_a_photo_is_named_by_its_file():
    assert replace(FULL, image="s3://lesions/photos/PAT_1.2_3.png").name == "PAT_1.2_3"


def test_a_thumbnail_is_not_printed():
    assert "thumbnail" not in repr(FULL)


def test_a_missing_manifest_says_how_to_make_one(tmp_path: Path):
    with pytest.raises(ManifestError, match=r"no manifest at .*m\.parquet .*skinserve ingest"):
        read_manifest(tmp_path / "m.parquet")


def test_a_file_of_another_kind_is_rejected(tmp_path: Path):
    path = tmp_path / "manifest.csv"
    path.write_text("image,label,group\n")

    with pytest.raises(ManifestError, match=r"manifest\.csv is no Parquet file; make the manifest again"):
        read_manifest(path)


def test_missing_columns_are_named(tmp_path: Path):
    path = tmp_path / "manifest.parquet"
    pq.write_table(pa.table({"image": ["a.jpg"], "label": ["Nevus"]}), path)

    with pytest.raises(ManifestError, match=r"has no column patient, lesion, person.*skinserve ingest"):
        read_manifest(path)


def test_missing_credentials_are_not_a_missing_manifest():
    with (
        strict_s3(with_credentials=False),
        pytest.raises(StorageError, match="no AWS credentials"),
    ):
        read_manifest("s3://lesions/manifest.parquet")


def test_a_key_with_two_slashes_is_read_back(bucket: str):
    image = f"{bucket}/data//1.jpg"
    write_manifest([replace(BARE, image=image)], f"{bucket}/data/manifest.parquet")

    assert read_manifest(f"{bucket}/data/manifest.parquet")[0].image == image


def test_the_fingerprint_does_not_depend_on_order_and_folder():
    moved = replace(FULL, image="s3://elsewhere/ISIC_1.jpg", licence="other")

    assert fingerprint_of([FULL, BARE], []) == fingerprint_of([BARE, moved], [])


@pytest.mark.parametrize(
    "change", [{"label": "Melanoma"}, {"patient": "x"}, {"lesion": "x"}, {"person": "x"}]
)
def test_the_fingerprint_depends_on_labels_and_groups(change: dict[str, str]):
    assert fingerprint_of([FULL], []) != fingerprint_of([replace(FULL, **change)], [])


def test_the_fingerprint_depends_on_the_sets():
    assert (
        len({fingerprint_of(*sides) for sides in (([FULL], [BARE]), ([BARE], [FULL]), ([FULL, BARE], []))})
        == 3
    )
