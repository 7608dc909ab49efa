"""Threshold and metrics of the same-person check, cross-fitted by person.

Axes: N photo, D number of a descriptor, H row, W column, C colour.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from models.face.descriptor import FaceDescriptor, crop_for_descriptor
from models.face.detector import MtcnnFaceDetector
from models.face.metrics import SamePersonMetrics, SamePersonRates
from models.face.same_person import find_same_person
from models.images import PhotoError, decode_bounded
from models.limits import MAX_FACE_PHOTO_SIDE_PX
from models.metrics import Metric
from models.storage import StorageError, read_bytes
from train.bootstrap import two_stage_metric
from train.data.manifest import ManifestError, Row
from train.progress.synthetic.alterations import ALTERATIONS

MAX_JOINED = 0.01
"""Share of the photo pairs of two people that may be closer than the threshold."""
NUM_MIXED_SERIES = 6
"""Of each pair of people."""
NUM_OWN_SERIES = 40
"""Of each person."""
NUM_PHOTOS = (2, 8)
ALTERED_CHANCE = 0.5
SPLIT = "photos of people; threshold cross-fitted by person"

Descriptors = Mapping[str, np.ndarray]
"""Descriptors of each person's photos, float32 (N, D)."""


def same_person_metrics(
    rows: Sequence[Row], detector: MtcnnFaceDetector, descriptor: FaceDescriptor, *, seed: int = 0
) -> tuple[float, SamePersonMetrics]:
    """Fit the threshold on all people; evaluate it at thresholds fitted without the people of each series.

    Raises:
        ManifestError: fewer than four people have two photos with a face.
    """
    crops = _crop_people(rows, detector)
    if len(crops) < 4:
        raise ManifestError(
            f"{len(crops)} people have two photos with a face, at least 4 are needed; give more photos"
        )
    taken = {person: _describe(descriptor, own) for person, own in crops.items()}
    rng = np.random.default_rng(seed)
    altered = {
        person: _describe(descriptor, [_altered(crop_HWC, rng) for crop_HWC in own])
        for person, own in crops.items()
    }
    mixed = {
        person: np.where(rng.random((len(taken[person]), 1)) < ALTERED_CHANCE, altered[person], taken[person])
        for person in taken
    }
    metrics = SamePersonMetrics(
        split=SPLIT,
        num_people=len(taken),
        num_pairs=len(taken) * (len(taken) - 1) // 2,
        num_photos=sum(map(len, taken.values())),
        rates={
            kind: cross_fitted_rates(people, taken, np.random.default_rng([seed, number]))
            for number, (kind, people) in enumerate({"as taken": taken, "half altered": mixed}.items())
        },
    )
    return fit_threshold(_distances_by_pair(taken)), metrics


def cross_fitted_rates(
    people: Descriptors, fitted_on: Descriptors, rng: np.random.Generator
) -> SamePersonRates:
    """Return the rates on series of these people, each at a threshold fitted without its people.

    Args:
        people: to draw series from.
        fitted_on: photos of the same people, for the thresholds.
        rng: source of all randomness.
    """
    distances = _distances_by_pair(fitted_on)
    noticed: list[bool] = []
    pair_of: list[int] = []
    alarms: list[bool] = []
    person_of: list[str] = []
    for number, pair in enumerate(combinations(people, 2)):
        threshold = fit_threshold(distances, without=pair)
        for _ in range(NUM_MIXED_SERIES):
            num_photos = int(rng.integers(NUM_PHOTOS[0], NUM_PHOTOS[1] + 1))
            num_first = int(rng.integers(1, num_photos))
            parts = [
                _chosen(people[person], count, rng)
                for person, count in zip(pair, (num_first, num_photos - num_first), strict=True)
            ]
            series_ND = rng.permutation(np.concatenate(parts))
            noticed.append(not find_same_person(series_ND, threshold).all())
            pair_of.append(number)
    for person, own_ND in people.items():
        threshold = fit_threshold(distances, without=(person,))
        for _ in range(NUM_OWN_SERIES):
            series_ND = _chosen(own_ND, int(rng.integers(NUM_PHOTOS[0], NUM_PHOTOS[1] + 1)), rng)
            alarms.append(not find_same_person(series_ND, threshold).all())
            person_of.append(person)
    by_person = {
        person: [alarm for alarm, own in zip(alarms, person_of, strict=True) if own == person]
        for person in people
    }
    return SamePersonRates(
        noticed=_rate(np.array(noticed), np.array(pair_of)),
        false_alarms=_rate(np.array(alarms), np.array(person_of)),
        false_alarms_by_person={person: round(float(np.mean(own)), 4) for person, own in by_person.items()},
    )


def _rate(is_called: np.ndarray, group: np.ndarray) -> Metric:
    metric = two_stage_metric(lambda index: float(is_called[index].mean()), group)
    return metric.model_copy(update={"n": len(is_called)})


def fit_threshold(distances: Mapping[tuple[str, str], np.ndarray], *, without: Sequence[str] = ()) -> float:
    """Return the distance below which ``MAX_JOINED`` of the photo pairs lie; pairs of people weigh the same.

    Args:
        distances: between photos of two people, by pair of people.
        without: people to leave out.
    """
    fitted = [own for pair, own in distances.items() if not set(pair) & set(without)]
    values = np.concatenate(fitted)
    weights = np.concatenate([np.full(len(own), 1 / len(own)) for own in fitted])
    order = np.argsort(values)
    share = np.cumsum(weights[order]) / weights.sum()
    return round(float(values[order][np.searchsorted(share, MAX_JOINED)]), 3)


def _distances_by_pair(people: Descriptors) -> dict[tuple[str, str], np.ndarray]:
    """Return all distances between photos of two people, by pair of people."""
    return {
        (first, second): np.linalg.norm(people[first][:, None] - people[second][None], axis=-1).ravel()
        for first, second in combinations(people, 2)
    }


def _chosen(own_ND: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    return own_ND[rng.choice(len(own_ND), min(count, len(own_ND)), replace=False)]


def _altered(crop_HWC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return ALTERATIONS[str(rng.choice(list(ALTERATIONS)))](crop_HWC, rng)


def _describe(descriptor: FaceDescriptor, crops: Sequence[np.ndarray]) -> np.ndarray:
    parts = [descriptor(np.stack(crops[start : start + 8])) for start in range(0, len(crops), 8)]
    return np.concatenate(parts)


def _crop_people(rows: Sequence[Row], detector: MtcnnFaceDetector) -> dict[str, list[np.ndarray]]:
    """Return the crops of each person with at least two faces."""
    crops: defaultdict[str, list[np.ndarray]] = defaultdict(list)
    for row in rows:
        try:
            image_HWC = decode_bounded(read_bytes(row.image), max_side_px=MAX_FACE_PHOTO_SIDE_PX).image_HWC
        except (PhotoError, StorageError):
            continue
        found = detector.detect([image_HWC])[0]
        if found and row.person:
            crops[row.person].append(crop_for_descriptor(image_HWC, found))
    return {person: own for person, own in sorted(crops.items()) if len(own) > 1}
