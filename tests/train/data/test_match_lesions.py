from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from models.lesion.shapes import RESNET50
from samples.lesion import draw_lesion
from tests.random_checkpoints import write_lesion
from train.data.manifest import Row, read_manifest, write_manifest
from train.data.match_lesions import (
    MIN_INLIERS,
    Keypoints,
    Match,
    candidates,
    count_inliers,
    find_keypoints,
    main,
    with_common_lesions,
)
from train.data.split import groups_of


def lesion(seed: int) -> Image.Image:
    """Draw a lesion on skin with marks of its own, as real skin has."""
    rng = np.random.default_rng(seed)
    marks = Image.fromarray(rng.normal(0, 40, (20, 20, 3)).clip(-90, 90).astype(np.int8).view(np.uint8))
    texture_HWC = np.asarray(marks.resize((300, 300), Image.Resampling.NEAREST)).view(np.int8).astype(float)
    pixels_HWC = np.asarray(draw_lesion(seed=seed, size_px=300)).astype(float) + texture_HWC / 2
    return Image.fromarray(pixels_HWC.clip(0, 255).astype(np.uint8))


def taken_again(photo: Image.Image) -> Image.Image:
    """Photograph it from another position, at another angle, distance and brightness."""
    turned = photo.rotate(25, Image.Resampling.BICUBIC, translate=(12, -8))
    nearer = turned.crop((40, 45, 270, 275)).resize((300, 300), Image.Resampling.BICUBIC)
    return ImageEnhance.Brightness(nearer).enhance(0.85)


def keypoints(image: Image.Image) -> Keypoints:
    return find_keypoints(np.asarray(image))


@pytest.mark.parametrize("seed", range(4))
def test_a_lesion_photographed_again_has_many_inliers_and_another_lesion_few(seed: int):
    photo = keypoints(lesion(seed))

    assert count_inliers(photo, keypoints(taken_again(lesion(seed)))) >= 2 * MIN_INLIERS
    assert count_inliers(photo, keypoints(taken_again(lesion(seed + 100)))) < MIN_INLIERS


def test_a_photo_without_texture_matches_nothing():
    blank = find_keypoints(np.full((200, 300, 3), 180, np.uint8))

    assert count_inliers(blank, blank) == 0


def test_candidates_are_near_in_their_features_and_were_read():
    rng = np.random.default_rng(0)
    feature_NC = rng.normal(size=(40, 64)).astype(np.float32)
    feature_NC[30] = feature_NC[3] + 0.1 * rng.normal(size=64)
    feature_NC[31] = feature_NC[5]
    is_read_N = np.ones(40, bool)
    is_read_N[31] = False

    found = candidates(feature_NC, is_read_N)

    assert (3, 30) in found
    assert all(31 not in pair and pair[0] < pair[1] for pair in found)


def test_matched_photos_share_the_smallest_lesion_id_through_others():
    rows = [
        Row(image=f"/photos/{name}.jpg", label="Nevus", lesion=lesion, patient=patient)
        for name, lesion, patient in (
            ("a", "L3", ""),
            ("b", "L1", "P"),
            ("c", "", "Q"),
            ("d", "L3", ""),
            ("e", "L9", ""),
        )
    ]
    matches = [Match(one=0, other=1, num_inliers=20), Match(one=1, other=2, num_inliers=20)]

    matched = with_common_lesions(rows, matches)

    assert [row.lesion for row in matched] == ["L1", "L1", "L1", "L1", "L9"]
    assert len(set(groups_of(matched, duplicates=()))) == 2
    assert with_common_lesions(rows, []) == rows


def test_the_command_writes_a_manifest_with_common_lesions_and_the_pairs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    checkpoint = write_lesion(tmp_path / "checkpoint", network=RESNET50)
    photos = [*(lesion(seed) for seed in range(5)), taken_again(lesion(2))]
    for number, photo in enumerate(photos):
        photo.save(tmp_path / f"{number}.png")
    (tmp_path / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    names = [*map(str, range(6)), "damaged"]
    labels = ["Nevus"] * 5 + ["Melanoma", "Nevus"]
    rows = [
        Row(image=str(tmp_path / f"{name}.png"), label=label, lesion=f"L{name}")
        for name, label in zip(names, labels, strict=True)
    ]
    manifest = tmp_path / "manifest.parquet"
    write_manifest(rows, manifest)

    code = main([str(manifest), "--pairs", str(tmp_path / "pairs.csv"), "--checkpoint", str(checkpoint)])

    assert code == 0
    assert [row.lesion for row in read_manifest(manifest)] == ["L0", "L1", "L2", "L3", "L4", "L2", "Ldamaged"]
    header, pair = (tmp_path / "pairs.csv").read_text().splitlines()
    assert header == "image,other_image,inliers,label,other_label"
    assert pair.startswith("2,5,") and pair.endswith(",Nevus,Melanoma")
    assert "1 pairs of photos" in capsys.readouterr().out
