from pathlib import Path

import pytest

from train.data import ManifestError, read_manifest
from train.ingest import Ingest, ingest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "photos" / "part_1").mkdir(parents=True)
    for name in ("ISIC_1.jpg", "ISIC_2.jpg"):
        (tmp_path / "photos" / "part_1" / name).touch()
    return tmp_path


def settings_for(folder: Path, metadata: str) -> Ingest:
    (folder / "metadata.csv").write_text(metadata)
    return Ingest(
        metadata=folder / "metadata.csv", photos=folder / "photos", manifest=folder / "out" / "manifest.csv"
    )


def test_ham10000_becomes_a_manifest(folder: Path):
    settings = settings_for(folder, "lesion_id,image_id,dx\nHAM_1,ISIC_1,nv\nHAM_2,ISIC_2,akiec\n")

    assert ingest(settings) == 2

    rows = read_manifest(settings.manifest)
    assert [(row.label, row.group) for row in rows] == [("Nevus", "HAM_1"), ("Actinic Keratosis", "HAM_2")]


def test_people_become_a_manifest_without_labels(folder: Path):
    settings = settings_for(folder, "image,person\nISIC_1.jpg,p01\nISIC_2.jpg,p02\n")

    ingest(settings)

    assert [(row.label, row.group) for row in read_manifest(settings.manifest)] == [("", "p01"), ("", "p02")]


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("name,colour\na,b\n", "has the columns colour, name"),
        ("lesion_id,image_id,dx\nHAM_1,ISIC_9,nv\n", "1 of 1 photos are not under .* ISIC_9 first"),
        ("lesion_id,image_id,dx\nHAM_1,ISIC_1,freckle\n", "'freckle'"),
    ],
)
def test_metadata_that_does_not_fit_is_refused(folder: Path, metadata: str, message: str):
    with pytest.raises(ValueError, match=message):
        ingest(settings_for(folder, metadata))


def test_missing_metadata_is_named(folder: Path):
    settings = Ingest(metadata=folder / "x.csv", photos=folder, manifest=folder / "m.csv")

    with pytest.raises(ManifestError, match=r"no file .*x\.csv"):
        ingest(settings)
