"""What simpler judges score on the same series, and what the network says where nothing changed.

A network that reads courses must beat judges that cannot: one that always says the same, one that sees the
last photo only, one that subtracts the last photo from the first. It must lose when the photos are shuffled.
Axes: B series, T photo, F feature.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from models.preprocessing import normalize
from models.progress.engine import ProgressEngine
from models.progress.network import skin_features
from train.metrics import interval_over_groups, recalls
from train.progress.series import Series

FEATURE_GRID = 5
"""The simple judges see a face in squares, this many from side to side."""
FREEDOM = 0.01
"""Of the simple judges: ``C`` of scikit-learn, small because the training people are few."""
UNSURE = (0.2, 0.8)
"""On skin that has not changed, a probability outside of these is confident and wrong."""


def answers_of(engine: ProgressEngine, series: Sequence[Series]) -> np.ndarray:
    """Return the probability of improved after the last photo, (B,); each asked alone, as is usual."""
    answers = [engine(one.photos_THWC[None], one.present_T[None]).improved_BT[0, -1] for one in series]
    return np.array(answers, np.float64)


def compare(
    engine: ProgressEngine, train_series: Sequence[Series], val_series: Sequence[Series], *, seed: int = 0
) -> dict[str, Any]:
    """Return balanced accuracy and recalls of every judge on the validation series, people resampled.

    The simple judges learn from ``train_series``; the engine learned before. Those that cannot learn, from
    none or from one verdict only, are left out. Series without a verdict are not for this.
    """
    improved_B = np.array([int(one.improved) for one in val_series])
    person_B = np.array([one.person for one in val_series])
    shuffled = [_shuffled(one, np.random.default_rng([seed, row])) for row, one in enumerate(val_series)]
    verdicts = {
        **_simple_verdicts(train_series, val_series),
        "convlstm": (answers_of(engine, val_series) >= 0.5).astype(int),
        "convlstm_shuffled_photos": (answers_of(engine, shuffled) >= 0.5).astype(int),
    }
    return {name: _figures(improved_B, verdict_B, person_B) for name, verdict_B in verdicts.items()}


def spread(engine: ProgressEngine, steady_series: Sequence[Series]) -> dict[str, Any]:
    """Return how far from one half the engine answers where nothing changed, people resampled."""
    probability_B = answers_of(engine, steady_series)
    person_B = np.array([one.person for one in steady_series])
    outside_B = (probability_B < UNSURE[0]) | (probability_B > UNSURE[1])
    return {
        "n": len(steady_series),
        "num_people": len(np.unique(person_B)),
        "mean": interval_over_groups(lambda i: float(probability_B[i].mean()), person_B),
        "std": interval_over_groups(lambda i: float(probability_B[i].std()), person_B),
        "outside_0.2_to_0.8": interval_over_groups(lambda i: float(outside_B[i].mean()), person_B),
        "lowest": round(float(probability_B.min()), 4),
        "highest": round(float(probability_B.max()), 4),
    }


def spreads(engine: ProgressEngine, steady: Mapping[str, Sequence[Series]]) -> dict[str, Any]:
    """Return ``spread`` of every kind of steady series that there is."""
    return {kind: spread(engine, series) for kind, series in steady.items() if series}


def _simple_verdicts(train_series: Sequence[Series], val_series: Sequence[Series]) -> dict[str, np.ndarray]:
    """What the judges say that learn from ``train_series``, 0 or 1, (B,); as many judges as can learn."""
    if not train_series:
        return {}
    improved_B = np.array([int(one.improved) for one in train_series])
    verdicts = {"majority": np.full(len(val_series), int(improved_B.mean() >= 0.5))}
    if len(np.unique(improved_B)) > 1:
        first, last = _first_and_last(train_series)
        val_first, val_last = _first_and_last(val_series)
        verdicts["last_photo"] = _fitted(last, improved_B).predict(val_last)
        verdicts["first_minus_last"] = _fitted(first - last, improved_B).predict(val_first - val_last)
    return verdicts


def _figures(improved_B: np.ndarray, verdict_B: np.ndarray, person_B: np.ndarray) -> dict[str, Any]:
    def recall_of(label: int) -> dict[str, Any]:
        members = np.flatnonzero(improved_B == label)
        right_B = (verdict_B == improved_B)[members]
        return interval_over_groups(lambda i: float(right_B[i].mean()), person_B[members])

    return {
        "balanced_accuracy": interval_over_groups(
            lambda i: float(recalls(improved_B[i], verdict_B[i]).mean()), person_B
        ),
        "recall": {"worsened": recall_of(0), "improved": recall_of(1)},
    }


def _fitted(features_BF: np.ndarray, improved_B: np.ndarray) -> Any:
    judge = make_pipeline(StandardScaler(), LogisticRegression(C=FREEDOM, max_iter=1000))
    return judge.fit(features_BF, improved_B)


def _first_and_last(series: Sequence[Series]) -> tuple[np.ndarray, np.ndarray]:
    """Features of the first and of the last face of each series, (B, F) each."""
    positions = [np.flatnonzero(one.present_T)[[0, -1]] for one in series]
    faces_B2HWC = np.stack([one.photos_THWC[pair] for one, pair in zip(series, positions, strict=True)])
    with torch.inference_mode():
        parts = [_features(faces_B2HWC[start : start + 64]) for start in range(0, len(series), 64)]
    features_B2F = np.concatenate(parts)
    return features_B2F[:, 0], features_B2F[:, 1]


def _features(faces_B2HWC: np.ndarray) -> np.ndarray:
    cells = skin_features(normalize(torch.from_numpy(faces_B2HWC).flatten(0, 1)))
    return F.adaptive_avg_pool2d(cells, FEATURE_GRID).reshape(len(faces_B2HWC), 2, -1).numpy()


def _shuffled(one: Series, rng: np.random.Generator) -> Series:
    """The same faces in an order drawn by lot; photos without one stay where they are."""
    faces = np.flatnonzero(one.present_T)
    photos_THWC = one.photos_THWC.copy()
    photos_THWC[faces] = one.photos_THWC[rng.permutation(faces)]
    return Series(
        photos_THWC=photos_THWC,
        present_T=one.present_T,
        improvement_T=one.improvement_T,
        person=one.person,
    )
