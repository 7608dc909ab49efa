import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from models.images import decode_square
from models.preprocessing import normalize
from train.data.manifest import ManifestError, Row
from train.distributed import DistributedContext
from train.lesion.config import LesionTraining
from train.lesion.dataset import (
    NUM_AHEAD,
    LesionPhotos,
    LesionTrainBatches,
    _gathered,
    class_names,
    val_batches,
)
from train.lesion.drawn_lesions import draw_lesion_photos
from train.lesion.mixing import mix, sample_mixing

LABELS = ("Nevus", "Vascular Lesion", "Melanoma")


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    return draw_lesion_photos(tmp_path / "photos", tmp_path / "manifest.parquet", num_photos=12)


@pytest.fixture
def photos(rows: list[Row]) -> LesionPhotos:
    return LesionPhotos(rows, labels=LABELS, side_px=43)


def settings(**changes: Any) -> LesionTraining:
    return replace(LesionTraining(input_px=32, start_px=32, batch_size=4, class_balance=0.0), **changes)


def test_labels_become_the_columns_of_both_heads(photos: LesionPhotos):
    batch = photos.__getitems__([0, 1, 2])

    assert batch["diagnosis"].argmax(1).tolist() == [0, 2, 1]
    assert batch["risk"].argmax(1).tolist() == [0, 1, 0]


def test_a_photo_labelled_with_its_risk_group_has_no_diagnosis(rows: list[Row]):
    batch = LesionPhotos([replace(rows[1], label="benign"), rows[1]], labels=LABELS, side_px=32)

    assert batch.diagnosis_B.tolist() == [-1, 2] and batch.malignant_B.tolist() == [0, 1]
    assert batch.__getitems__([0])["diagnosis"].sum() == 0


def test_a_few_damaged_photos_are_skipped_and_named(rows: list[Row], caplog: pytest.LogCaptureFixture):
    Path(rows[2].image).write_bytes(b"\xff\xd8\xff broken")

    photos = LesionPhotos(rows, labels=LABELS, side_px=32, max_unreadable_share=0.1)

    assert len(photos) == 11
    assert photos.diagnosis_B.tolist() == [0, 2, 0, 2, 1, 0, 2, 1, 0, 2, 1]
    served_HWC = decode_square(Path(rows[3].image).read_bytes(), side_px=32).image_HWC
    assert torch.equal(photos.__getitems__([2])["image"][0], torch.from_numpy(served_HWC))
    assert "1 of 12 photos cannot be read and are skipped: lesion-00002" in caplog.text


def test_half_the_photos_missing_ends_the_run(rows: list[Row]):
    for row in rows[::2]:
        Path(row.image).unlink()

    with pytest.raises(ManifestError, match=r"6 of 12 photos cannot be read, first .*; at most 5%"):
        LesionPhotos(rows, labels=LABELS, side_px=32, max_unreadable_share=0.05)


def test_an_unknown_label_is_named(rows: list[Row]):
    with pytest.raises(ManifestError, match="'mole'"):
        class_names([*rows, Row(image="a", label="mole")])


def test_a_single_diagnosis_is_rejected():
    with pytest.raises(ManifestError, match="photos of Nevus only"):
        class_names([Row(image="a", label="nv")])


def test_balanced_batches_sample_all_classes_equally(rows: list[Row]):
    common = [row for row in rows if row.label == "Nevus"] * 3
    rare = [row for row in rows if row.label == "Melanoma"][:2]
    photos = LesionPhotos([*common, *rare], labels=("Nevus", "Melanoma"), side_px=32)
    batches = LesionTrainBatches(photos, settings(class_balance=1.0), DistributedContext())
    drawn: Counter[int] = Counter()

    for batches.epoch in range(60):
        drawn.update(photos.diagnosis_B[batches.order().flatten()].tolist())

    assert drawn[1] / drawn.total() == pytest.approx(0.5, abs=0.07)


def test_two_workers_together_take_the_step_of_one(photos: LesionPhotos):
    single = LesionTrainBatches(photos, settings(), DistributedContext())
    pair = [
        LesionTrainBatches(photos, settings(batch_size=2), DistributedContext(rank=rank, world_size=2))
        for rank in (0, 1)
    ]

    for epoch in range(3):
        for batches in (single, *pair):
            batches.epoch = epoch
        assert torch.equal(torch.cat([batches.order() for batches in pair], dim=1), single.order())


def test_every_photo_is_sampled_once_without_class_balance(photos: LesionPhotos):
    order = LesionTrainBatches(photos, settings(), DistributedContext()).order()

    assert sorted(order.flatten().tolist()) == list(range(12))


def test_an_epoch_is_deterministic_and_differs_from_another(photos: LesionPhotos):
    batches = LesionTrainBatches(photos, settings(), DistributedContext())

    first, again = (torch.cat([batch["image"] for batch in batches]) for _ in range(2))
    batches.epoch = 1
    other = torch.cat([batch["image"] for batch in batches])

    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_photo_without_augmentation_equals_the_input_of_serving(rows: list[Row]):
    photos = LesionPhotos(rows, labels=LABELS, side_px=32)
    batches = LesionTrainBatches(photos, settings(augment=False), DistributedContext())

    batch = next(iter(batches))

    first = batches.order()[0].tolist()
    assert torch.equal(batch["image"], normalize(photos.__getitems__(first)["image"]))


def test_batches_gathered_ahead_for_a_gpu_equal_those_of_a_cpu(photos: LesionPhotos):
    order = [[index % 12, (index + 5) % 12] for index in range(3 * NUM_AHEAD)]

    found = list(_gathered(photos, order, "cuda:0"))

    for batch, expected in zip(found, _gathered(photos, order, "cpu"), strict=True):
        assert all(torch.equal(batch[name], expected[name]) for name in expected)


def test_an_epoch_can_end_while_batches_are_gathered_ahead(photos: LesionPhotos):
    batches = _gathered(photos, [[0, 1]] * 10 * NUM_AHEAD, "cuda:0")
    next(batches)

    batches.close()

    assert not [thread for thread in threading.enumerate() if thread.name.startswith("gather")]


def test_an_error_of_a_gathering_thread_is_raised(photos: LesionPhotos):
    with pytest.raises(IndexError):
        list(_gathered(photos, [[0], [99]], "cuda:0"))


def test_workers_share_the_validation_photos(photos: LesionPhotos):
    whole = torch.cat([batch["image"] for batch in val_batches(photos, 5, DistributedContext())])
    shares = [
        torch.cat(
            [batch["image"] for batch in val_batches(photos, 5, DistributedContext(rank=rank, world_size=2))]
        )
        for rank in (0, 1)
    ]

    assert torch.equal(whole[::2], shares[0])
    assert torch.equal(whole[1::2], shares[1])


def test_mixed_targets_sum_to_one():
    generator = torch.Generator().manual_seed(0)
    batch = {"image": torch.rand(6, 3, 16, 16), "risk": torch.eye(2)[[0, 1] * 3], "diagnosis": torch.eye(6)}

    for _ in range(20):
        mixture = mix(batch, sample_mixing(6, 16, generator))

        assert torch.allclose(mixture["risk"].sum(1), torch.ones(6))
        assert torch.allclose(mixture["diagnosis"].sum(1), torch.ones(6))
        assert not torch.equal(mixture["image"], batch["image"])


@pytest.mark.parametrize(("seed", "cuts"), [(0, False), (3, True)])
def test_the_mixing_of_a_seed_never_changes(seed: int, cuts: bool):
    """A run resumed with newer code must train on the same photos."""
    generator = torch.Generator().manual_seed(seed)

    mixing = sample_mixing(6, 16, generator)

    again = torch.Generator().manual_seed(seed)
    assert torch.equal(mixing.other_B, torch.randperm(6, generator=again))
    share = torch.rand((), generator=again).item()
    assert cuts == (torch.rand((), generator=again).item() >= 0.5)
    hole_px = round(16 * (1 - share) ** 0.5)
    corner = torch.randint(16 - hole_px + 1, (2,), generator=again).tolist() if cuts else None
    assert mixing.hole == (corner and tuple(slice(start, start + hole_px) for start in corner))
    assert mixing.share == (1 - hole_px**2 / 16**2 if cuts else share)
    assert torch.equal(generator.get_state(), again.get_state())


def test_more_workers_than_photos_are_rejected(photos: LesionPhotos):
    with pytest.raises(ManifestError, match=r"12 photos are fewer than the examples of one step, 4 x 4"):
        LesionTrainBatches(photos, settings(), DistributedContext(world_size=4))
