from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from models.images import decode_square
from train.config import LesionTraining
from train.data import (
    LesionPhotos,
    ManifestError,
    Row,
    TrainBatches,
    class_names,
    plain_batches,
    read_manifest,
    split_by_group,
)


def rows_of(num_groups: int, per_group: int = 2) -> list[Row]:
    """Groups take turns with three labels."""
    return [
        Row(image=Path(f"{group}_{i}.jpg"), label=("nv", "mel", "bcc")[group % 3], group=str(group))
        for group in range(num_groups)
        for i in range(per_group)
    ]


@pytest.fixture
def photos_on_disk(tmp_path: Path) -> list[Row]:
    random = np.random.default_rng(0)
    rows = []
    for number in range(12):
        path = tmp_path / f"{number}.png"
        Image.fromarray(random.integers(0, 256, (60, 80, 3), np.uint8)).save(path)
        rows.append(Row(image=path, label="nv" if number < 9 else "mel", group=str(number)))
    return rows


@given(num_groups=st.integers(30, 90), per_group=st.integers(1, 4), seed=st.integers(0, 99))
def test_no_group_is_on_both_sides_and_no_row_is_lost(num_groups: int, per_group: int, seed: int):
    rows = rows_of(num_groups, per_group)

    split = split_by_group(rows, val_fraction=0.15, seed=seed)

    assert not {row.group for row in split.train} & {row.group for row in split.val}
    assert Counter(split.train + split.val) == Counter(rows)


def test_every_label_is_on_both_sides():
    split = split_by_group(rows_of(60), val_fraction=0.2, seed=0)

    assert {row.label for row in split.train} == {row.label for row in split.val} == {"nv", "mel", "bcc"}


def test_the_same_seed_gives_the_same_split_and_another_seed_another():
    first, again, other = (split_by_group(rows_of(60), val_fraction=0.2, seed=seed) for seed in (1, 1, 2))

    assert first == again
    assert first.fingerprint != other.fingerprint


def test_too_few_groups_of_a_label_are_named():
    rows = [*rows_of(60), Row(image=Path("x.jpg"), label="df", group="x")]

    with pytest.raises(ManifestError, match=r"df \(1\)"):
        split_by_group(rows, val_fraction=0.2, seed=0)


def test_an_empty_manifest_is_refused():
    with pytest.raises(ManifestError, match="the manifest is empty"):
        split_by_group([], val_fraction=0.2, seed=0)


def test_a_manifest_is_read_relative_to_its_folder(tmp_path: Path):
    (tmp_path / "a.jpg").touch()
    (tmp_path / "manifest.csv").write_text("image,label,group\na.jpg,nv,1\n")

    assert read_manifest(tmp_path / "manifest.csv") == [Row(image=tmp_path / "a.jpg", label="nv", group="1")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("image,label\na.jpg,nv\n", "no column group"),
        ("image,label,group\na.jpg,nv,1\nb.jpg,nv,2\n", r"1 of 2 photos are missing, first in line 3"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(tmp_path: Path, content: str, message: str):
    (tmp_path / "a.jpg").touch()
    (tmp_path / "manifest.csv").write_text(content)

    with pytest.raises(ManifestError, match=message):
        read_manifest(tmp_path / "manifest.csv")


def test_a_missing_manifest_says_how_to_make_one(tmp_path: Path):
    with pytest.raises(ManifestError, match=r"train\.ingest"):
        read_manifest(tmp_path / "manifest.csv")


def test_photos_are_what_serving_decodes(photos_on_disk: list[Row]):
    photos = LesionPhotos(photos_on_disk, labels=("Nevus", "Melanoma"), side_px=32)

    served = decode_square(photos_on_disk[4].image.read_bytes(), side_px=32).image_HWC

    assert np.array_equal(photos[4]["image"].numpy(), served)
    assert photos.diagnosis_B.tolist() == photos.malignant_B.tolist() == [0] * 9 + [1] * 3


def test_a_damaged_photo_is_named(photos_on_disk: list[Row]):
    photos_on_disk[2].image.write_bytes(b"\xff\xd8\xff broken")

    with pytest.raises(ManifestError, match=r"2\.png: .*damaged or cut off"):
        LesionPhotos(photos_on_disk, labels=("Nevus", "Melanoma"), side_px=32)


def test_an_unknown_label_is_named():
    with pytest.raises(ManifestError, match="'mole'"):
        class_names([Row(image=Path("a"), label="mole", group="1")])


def test_balanced_batches_draw_rare_classes_as_often(photos_on_disk: list[Row]):
    photos = LesionPhotos(photos_on_disk, labels=("Nevus", "Melanoma"), side_px=43)
    config = LesionTraining(input_px=32, start_px=32, batch_size=4, class_balance=1.0)
    batches = TrainBatches(photos, config, torch.Generator().manual_seed(0))

    drawn = Counter(int(label) for _ in range(40) for batch in batches for label in batch["diagnosis"])

    assert drawn[1] / drawn.total() == pytest.approx(0.5, abs=0.08)


def test_validation_batches_are_in_order_and_not_augmented(photos_on_disk: list[Row]):
    photos = LesionPhotos(photos_on_disk, labels=("Nevus", "Melanoma"), side_px=32)
    config = LesionTraining(input_px=32, start_px=32, batch_size=5)

    first, second = (torch.cat([batch["image"] for batch in plain_batches(photos, config)]) for _ in range(2))

    assert torch.equal(first, second) and first.shape == (12, 3, 32, 32)
