import numpy as np
import pytest

from models.face.same_person import find_same_person

ANN, BEN = np.eye(128)[0], np.eye(128)[1]


def near(descriptor: np.ndarray, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 1, 128)
    return descriptor + 0.2 * noise / np.linalg.norm(noise)


@pytest.mark.parametrize("people", ["ab", "ba", "aab", "abb", "aabab", "abbbb"])
def test_the_faces_of_the_minority_are_found(people: str):
    descriptors = np.stack([near(ANN if one == "a" else BEN, seed) for seed, one in enumerate(people)])

    same = find_same_person(descriptors, max_distance=0.6)

    majority = max("ab", key=lambda one: (people.count(one), -people.index(one)))
    assert same.tolist() == [one == majority for one in people]


def test_all_faces_of_one_person_are_the_same():
    assert find_same_person(np.stack([near(ANN, seed) for seed in range(30)]), 0.6).all()
    assert find_same_person(ANN[None], 0.6).tolist() == [True]


def test_one_photo_between_two_people_does_not_join_them():
    between = (ANN + BEN) / 2 + 0.3 * np.eye(128)[2]
    descriptors = np.stack([ANN, near(ANN, 1), between, BEN, near(BEN, 2), near(BEN, 3)])

    assert not find_same_person(descriptors, 0.85).all()


def test_a_descriptor_that_is_not_a_number_is_another_person():
    descriptors = np.stack([ANN, near(ANN, 1), np.full(128, np.nan)])

    assert not find_same_person(descriptors, 0.6).all()
