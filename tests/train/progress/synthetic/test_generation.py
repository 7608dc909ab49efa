import logging

import numpy as np
import pytest
import torch

from models.face.alignment import FACE_LANDMARKS_52
from models.face.detector import MtcnnFaceDetector
from samples.face import draw_face
from train.data.manifest import ManifestError, Row
from train.progress.config import ProgressTraining
from train.progress.face_crops import CROP_PX, Faces, crop_face, crop_faces
from train.progress.synthetic.generation import (
    SyntheticSeriesBatches,
    draw_pair,
    improvement_of,
    no_change_series,
    real_no_change_series,
    training_series,
    validation_series,
)
from train.progress.synthetic.rendering import draw_lesions, face_to_pixels
from train.progress.synthetic.trajectory import SeriesDrawing, draw_worsening


@pytest.fixture(scope="module")
def detector() -> MtcnnFaceDetector:
    return MtcnnFaceDetector(num_threads=1)


@pytest.fixture(scope="module")
def faces(detector: MtcnnFaceDetector) -> Faces:
    found: Faces = {"anna": [], "ben": []}
    for person, seeds in (("anna", (1, 2)), ("ben", (3,))):
        for seed in seeds:
            image_HWC = np.asarray(draw_face(num_lesions=0, redness=0, seed=seed, size_px=240))
            location = detector.detect([image_HWC])[0]
            assert location is not None
            found[person].append(crop_face(image_HWC, location))
    return found


def test_the_same_seed_draws_the_same_series(faces: Faces):
    one, same, other = (
        draw_pair(faces, SeriesDrawing(), np.random.default_rng(seed), num_photos=4).worsening
        for seed in (1, 1, 2)
    )

    np.testing.assert_array_equal(one.photos_THWC, same.photos_THWC)
    assert (one.person, one.improved) == (same.person, same.improved)
    assert not np.array_equal(one.photos_THWC, other.photos_THWC)


def test_series_have_the_requested_length_and_size_and_two_faces(faces: Faces):
    drawing = SeriesDrawing(num_photos=(2, 5), absent_chance=0.6)
    drawn = [
        draw_pair(faces, drawing, np.random.default_rng(seed), size_px=40).improving for seed in range(30)
    ]

    assert {len(sequence.present_T) for sequence in drawn} == {2, 3, 4, 5}
    assert all(sequence.photos_THWC.shape[1:] == (40, 40, 3) for sequence in drawn)
    assert min(sequence.present_T.sum() for sequence in drawn) == 2
    assert all((sequence.photos_THWC[~sequence.present_T] == 0).all() for sequence in drawn)


def test_lesions_keep_their_positions_and_get_worse():
    trajectory = draw_worsening(SeriesDrawing(relapse=0.0, no_change_chance=0.0), np.random.default_rng(3), 6)

    first, last = trajectory.lesions_T[0], trajectory.lesions_T[-1]
    assert (
        first
        and last
        and all(lesions and lesions.position_K2 is first.position_K2 for lesions in trajectory.lesions_T)
    )
    assert (np.diff(trajectory.trend_T) >= 0).all()
    assert last.strength_K[~last.brown_K].sum() > first.strength_K[~first.brown_K].sum()
    np.testing.assert_array_equal(last.strength_K[last.brown_K], first.strength_K[first.brown_K])


def test_lesions_follow_the_landmarks_of_a_moved_face():
    straight = face_to_pixels(FACE_LANDMARKS_52 * 30 + 60)
    turn = np.array([[0.96, -0.28], [0.28, 0.96]])
    moved = face_to_pixels(FACE_LANDMARKS_52 @ turn.T * 24 + [70, 50])

    np.testing.assert_allclose(straight @ [0.3, 0.6, 1], [69, 78], atol=1e-6)
    np.testing.assert_allclose(moved @ [0.3, 0.6, 1], turn @ [0.3, 0.6] * 24 + [70, 50], atol=1e-6)


def test_a_lesion_changes_only_its_own_position():
    trajectory = draw_worsening(
        SeriesDrawing(num_lesions=(1, 1), no_change_chance=0.0), np.random.default_rng(0), 2
    )
    crop_HWC = np.full((CROP_PX, CROP_PX, 3), 180, np.uint8)
    map_23 = face_to_pixels(FACE_LANDMARKS_52 * 30 + [56, 44])
    lesions = trajectory.lesions_T[-1]
    assert lesions is not None
    x, y = map_23 @ [*lesions.position_K2[0], 1]

    drawn_HWC = draw_lesions(crop_HWC, np.ones((CROP_PX, CROP_PX), np.float32), map_23, lesions)

    red, green, _ = drawn_HWC[round(y), round(x)]
    assert red > green + 15
    assert (drawn_HWC[:5] == 180).all()


def test_a_pair_is_one_series_and_its_reverse(faces: Faces):
    drawing = SeriesDrawing(no_change_chance=0.0)

    worsening, improving = draw_pair(faces, drawing, np.random.default_rng(5), num_photos=5)

    assert improving.improved and not worsening.improved
    assert (worsening.improvement_T[0], worsening.improvement_T[-1]) == (0.5, 0.0)
    np.testing.assert_array_equal(improving.photos_THWC, worsening.photos_THWC[::-1])


def test_improvement_is_relative_to_the_first_face_and_constant_without_a_face():
    trend_T = np.array([0.9, 0.8, 0.75, 0.6, 0.1, 0.2])
    present_T = np.array([False, True, True, True, False, True])

    np.testing.assert_allclose(
        improvement_of(trend_T, present_T), [0.5, 0.5, 0.5, 0.75, 0.75, 1.0], atol=1e-6
    )
    np.testing.assert_allclose(improvement_of(np.full(3, 0.4), np.ones(3, bool)), 0.5)


def test_training_batches_repeat_for_an_epoch_and_change_with_it(faces: Faces):
    config = ProgressTraining(batches_per_epoch=2, batch_size=4, input_px=40, drawn_epochs=2)
    batches = SyntheticSeriesBatches(faces, config)
    first, again = [list(batches) for _ in range(2)]
    batches.epoch = 1
    second = list(batches)

    assert len(first) == len(batches) == 2
    assert all(bool((a["photos"] == b["photos"]).all()) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0]["photos"], second[0]["photos"])
    assert bool((first[0]["photos"][:2].flip(1) == first[0]["photos"][2:]).all())


def test_later_epochs_repeat_series_some_of_them_mirrored(faces: Faces):
    config = ProgressTraining(batches_per_epoch=4, batch_size=4, input_px=40, drawn_epochs=1)
    batches = SyntheticSeriesBatches(faces, config)
    first = [series for batch in batches for series in batch["photos"]]
    batches.epoch = 1
    second = [series for batch in batches for series in batch["photos"]]

    turned = [not torch.equal(a, b) for a, b in zip(first, second, strict=True)]
    assert any(turned) and not all(turned)
    assert all(
        torch.equal(a, b.flip(-1) if mirrored else b)
        for a, b, mirrored in zip(first, second, turned, strict=True)
    )


def test_validation_and_training_series_are_fixed_and_have_both_verdicts(faces: Faces):
    drawing = SeriesDrawing(num_photos=(2, 3))
    for draw in (validation_series, training_series):
        one, same = (draw(faces, drawing, num_series=12, seed=1, size_px=40) for _ in range(2))

        assert all(np.array_equal(a.photos_THWC, b.photos_THWC) for a, b in zip(one, same, strict=True))
        assert {float(series.improvement_T[-1]) for series in one} == {0.0, 1.0}


def test_no_change_series_have_no_verdict_and_differ_between_photos(faces: Faces):
    drawing = SeriesDrawing(num_photos=(3, 3), one_photo_chance=1.0)

    for series in no_change_series(faces, drawing, num_series=3, seed=1, size_px=40):
        assert (series.improvement_T == 0.5).all()
        assert not np.array_equal(series.photos_THWC[0], series.photos_THWC[1])


def test_real_no_change_series_have_different_photos_cropped_as_in_serving(
    faces: Faces, detector: MtcnnFaceDetector
):
    series = real_no_change_series(faces, SeriesDrawing(), num_series=4, seed=1)

    served = [face.crop_HWC for face in detector([draw(1), draw(2)]) if face is not None]
    assert {one.person for one in series} == {"anna"}
    for one in series:
        assert len(one.present_T) == 2 and (one.improvement_T == 0.5).all()
        sums = sorted(float(photo.sum()) for photo in one.photos_THWC)
        # the detector rounds differently in batches of another size
        assert sums == pytest.approx(sorted(float(crop.sum()) for crop in served), rel=1e-5)


def draw(seed: int) -> np.ndarray:
    return np.asarray(draw_face(num_lesions=0, redness=0, seed=seed, size_px=240))


def test_unmodified_series_have_no_drawn_lesions():
    drawing = SeriesDrawing(no_change_chance=1.0, unmodified_chance=1.0)

    trajectory = draw_worsening(drawing, np.random.default_rng(0), 4)

    assert trajectory.lesions_T == (None,) * 4
    assert np.ptp(trajectory.trend_T) == 0


def test_unusable_photos_are_skipped_and_counted(tmp_path, detector: MtcnnFaceDetector, caplog):
    draw_face(num_lesions=0, redness=0, seed=1, size_px=200).save(tmp_path / "good.png")
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    names = ("good.png", "broken.jpg", "lost.jpg")
    rows = [Row(image=str(tmp_path / name), label="", person=name[0]) for name in names]

    with caplog.at_level(logging.WARNING):
        crops = crop_faces(rows, detector)

    assert [*crops] == ["g"] and crops["g"][0].served_HWC.shape == (80, 80, 3)
    assert (
        "of 3 photos 2 cannot be read and 0 have no face bright enough; 2 people are skipped" in caplog.text
    )
    with pytest.raises(ManifestError, match="no usable face in any of 2 photos, 2 of them unreadable"):
        crop_faces(rows[1:], detector)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_photos": (1, 4)}, "num_photos is"),
        ({"absent_chance": 1.0}, "absent_chance is 1.0"),
        ({"no_change_chance": 1.5}, "no_change_chance is 1.5"),
        ({"radius": (0.5, 0.1)}, "radius is"),
        ({"start": (0.0, 0.8)}, "leaves no room"),
    ],
)
def test_invalid_ranges_are_rejected(settings: dict, message: str):
    with pytest.raises(ValueError, match=message):
        SeriesDrawing(**settings)
