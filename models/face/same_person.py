"""Find the faces of one person among the faces of a series, by their descriptors. No torch.

Axes: N face, D number of a descriptor.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np


def find_same_person(descriptor_ND: np.ndarray, max_distance: float) -> np.ndarray:
    """Return which faces show the person of most faces: bool (N,); of equal groups the first one.

    Average linkage: the two groups with the smallest mean distance are merged until it exceeds
    ``max_distance``. One unusual photo thus does not separate a person, and one similar photo does not join
    two.

    Args:
        descriptor_ND: of ``models.face.descriptor``, in order of time.
        max_distance: largest mean distance of two groups of one person's faces.
    """
    distance_NN = np.linalg.norm(descriptor_ND[:, None] - descriptor_ND[None], axis=-1)
    groups = [[face] for face in range(len(descriptor_ND))]
    while len(groups) > 1:
        first, second = min(
            combinations(range(len(groups)), 2), key=lambda pair: _distance(distance_NN, groups, pair)
        )
        if not _distance(distance_NN, groups, (first, second)) <= max_distance:  # also for NaN
            break
        groups[first] += groups.pop(second)
    largest = max(groups, key=lambda group: (len(group), -min(group))) if groups else []
    return np.isin(np.arange(len(descriptor_ND)), largest)


def _distance(distance_NN: np.ndarray, groups: Sequence[list[int]], pair: tuple[int, int]) -> float:
    first, second = pair
    return float(distance_NN[np.ix_(groups[first], groups[second])].mean())
