import numpy as np
import pytest

from models.face import FaceFinder
from train.config import ProgressTraining
from train.data import Row
from train.drawing import SequenceDrawing, draw_worsening
from train.faces import CUT_PX, Faces, cut_face, split_by_person
from train.sequences import (
    ProgressSequence,
    SequenceBatches,
    backwards,
    draw_sequence,
    to_batch,
    validation_sequences,
)
from train.skin import FACE_LANDMARKS_52, draw_lesions, face_to_pixels
from ui.examples import draw_face


@pytest.fixture(scope="module")
def faces() -> Faces:
    finder = FaceFinder(num_threads=1)
    found: Faces = {"anna": [], "ben": []}
    for person, seeds in (("anna", (1, 2)), ("ben", (3,))):
        for seed in seeds:
            image_HWC = np.asarray(draw_face(spots=0, redness=0, seed=seed, size_px=240))
            location = finder.locate([image_HWC])[0]
            assert location is not None
            found[person].append(cut_face(image_HWC, location.box, np.array(location.landmarks)))
    return found


def sequence_of(present: list[bool], trend: list[float]) -> ProgressSequence:
    return ProgressSequence(
        photos_THWC=np.zeros((len(present), 40, 40, 3), np.uint8),
        present_T=np.array(present),
        trend_T=np.array(trend),
        person="anna",
    )


def test_the_same_seed_draws_the_same_sequence(faces: Faces):
    one, same, other = (
        draw_sequence(faces, SequenceDrawing(), np.random.default_rng(seed), num_photos=4)
        for seed in (1, 1, 2)
    )

    np.testing.assert_array_equal(one.photos_THWC, same.photos_THWC)
    assert (one.person, one.improved) == (same.person, same.improved)
    assert not np.array_equal(one.photos_THWC, other.photos_THWC)


def test_sequences_have_the_promised_length_size_and_two_faces(faces: Faces):
    drawing = SequenceDrawing(num_photos=(2, 5), absent_chance=0.6)
    drawn = [draw_sequence(faces, drawing, np.random.default_rng(seed), size_px=40) for seed in range(30)]

    assert {len(sequence.present_T) for sequence in drawn} == {2, 3, 4, 5}
    assert all(sequence.photos_THWC.shape[1:] == (40, 40, 3) for sequence in drawn)
    assert min(sequence.present_T.sum() for sequence in drawn) == 2
    assert all((sequence.photos_THWC[~sequence.present_T] == 0).all() for sequence in drawn)
    assert 8 <= sum(sequence.improved for sequence in drawn) <= 22


def test_lesions_stay_where_they_are_and_get_worse():
    course = draw_worsening(SequenceDrawing(relapse=0.0, steady_chance=0.0), np.random.default_rng(3), 6)

    first, last = course.lesions_T[0], course.lesions_T[-1]
    assert all(lesions.place_K2 is first.place_K2 for lesions in course.lesions_T)
    assert (np.diff(course.trend_T) >= 0).all()
    assert last.strength_K[~last.brown_K].sum() > first.strength_K[~first.brown_K].sum()
    np.testing.assert_array_equal(last.strength_K[last.brown_K], first.strength_K[first.brown_K])


def test_landmarks_carry_lesions_to_the_same_place_of_a_moved_face():
    straight = face_to_pixels(FACE_LANDMARKS_52 * 30 + 60)
    turn = np.array([[0.96, -0.28], [0.28, 0.96]])
    moved = face_to_pixels(FACE_LANDMARKS_52 @ turn.T * 24 + [70, 50])

    np.testing.assert_allclose(straight @ [0.3, 0.6, 1], [69, 78], atol=1e-6)
    np.testing.assert_allclose(moved @ [0.3, 0.6, 1], turn @ [0.3, 0.6] * 24 + [70, 50], atol=1e-6)


def test_a_lesion_reddens_its_own_place_only():
    course = draw_worsening(SequenceDrawing(num_lesions=(1, 1)), np.random.default_rng(0), 2)
    crop_HWC = np.full((CUT_PX, CUT_PX, 3), 180, np.uint8)
    map_23 = face_to_pixels(FACE_LANDMARKS_52 * 30 + [64, 50])
    x, y = map_23 @ [*course.lesions_T[-1].place_K2[0], 1]

    drawn_HWC = draw_lesions(crop_HWC, np.ones((CUT_PX, CUT_PX), np.float32), map_23, course.lesions_T[-1])

    red, green, _ = drawn_HWC[round(y), round(x)]
    assert red > green + 15
    assert (drawn_HWC[:5] == 180).all()


def test_backwards_turns_the_verdict_around(faces: Faces):
    drawing = SequenceDrawing(steady_chance=0.0)
    sequence = draw_sequence(faces, drawing, np.random.default_rng(5), num_photos=5)

    back = backwards(sequence)

    assert back.improved is not sequence.improved
    np.testing.assert_array_equal(back.photos_THWC, sequence.photos_THWC[::-1])


def test_improvement_is_measured_from_the_first_face_and_stands_still_without_one():
    sequence = sequence_of([False, True, True, False, True], [0.9, 0.8, 0.65, 0.1, 0.2])

    np.testing.assert_allclose(sequence.improvement(), [0.5, 0.5, 0.75, 0.75, 1.0])
    assert sequence.improved
    np.testing.assert_allclose(sequence_of([True] * 3, [0.4] * 3).improvement(), 0.5)


def test_a_batch_pads_at_the_end():
    short, long = sequence_of([True, True], [0.1, 0.9]), sequence_of([True] * 4, [0.9, 0.8, 0.6, 0.1])

    batch = to_batch([short, long])

    assert batch["photos"].shape == (2, 4, 3, 40, 40)
    assert batch["present"].tolist() == [[True, True, False, False], [True] * 4]
    assert batch["improvement"][0].tolist() == [0.5, 0.0, 0.0, 0.0]


def test_training_batches_repeat_for_an_epoch_and_change_with_it(faces: Faces):
    batches = SequenceBatches(faces, ProgressTraining(batches_per_epoch=2, batch_size=4, input_px=40))
    first, again = [list(batches) for _ in range(2)]
    batches.epoch = 1

    assert len(first) == len(batches) == 2
    assert all(bool((a["photos"] == b["photos"]).all()) for a, b in zip(first, again, strict=True))
    assert (
        next(iter(batches))["photos"].flatten()[:100].tolist() != first[0]["photos"].flatten()[:100].tolist()
    )
    assert bool((first[0]["photos"][:2].flip(1) == first[0]["photos"][2:]).all())


def test_validation_sequences_are_fixed_and_never_steady(faces: Faces):
    one, same = (
        validation_sequences(faces, SequenceDrawing(num_photos=(2, 3)), num_sequences=4, seed=1, size_px=40)
        for _ in range(2)
    )

    assert all(np.array_equal(a.photos_THWC, b.photos_THWC) for a, b in zip(one, same, strict=True))
    assert all(abs(np.ptp(sequence.trend_T)) >= 0.5 for sequence in one)


def test_people_with_many_and_with_few_photos_are_on_both_sides(tmp_path):
    rows = [
        Row(image=tmp_path / f"{person}-{number}.jpg", label="", group=f"p{person}")
        for person in range(16)
        for number in range(20 if person < 8 else 5)
    ]

    split = split_by_person(rows, val_fraction=0.25, seed=3)

    train, val = ({row.group for row in side} for side in (split.train, split.val))
    assert not train & val and len(train | val) == 16
    assert len(val) == 4 and len({int(person[1:]) < 8 for person in val}) == 2
    assert split_by_person(rows, val_fraction=0.25, seed=3) == split


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_photos": (1, 4)}, "num_photos is"),
        ({"absent_chance": 1.0}, "absent_chance is 1.0"),
        ({"steady_chance": 1.5}, "steady_chance is 1.5"),
        ({"radius": (0.5, 0.1)}, "radius is"),
        ({"start": (0.0, 0.8)}, "leaves no room"),
    ],
)
def test_impossible_drawings_are_refused(settings: dict, message: str):
    with pytest.raises(ValueError, match=message):
        SequenceDrawing(**settings)
