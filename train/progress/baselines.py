"""Baseline models on the evaluated series, and the network on no-change controls.

The network reads whole series. It must beat models that cannot: the majority verdict, and logistic
regressions on the last photo or on the first minus the last. It must lose when the photos are shuffled.
Axes: B series, F feature, T photo.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from models.metrics import Metric
from models.preprocessing import normalize
from models.progress.engine import ProgressEngine
from models.progress.metrics import BaselineMetrics, NoChangeMetrics
from models.progress.skin_features import skin_features
from train.bootstrap import DECIMALS, two_stage_metric
from train.metrics import recalls
from train.progress.predictions import predict_improved
from train.progress.series import Series

MODEL_NAMES = {
    "majority": "the more frequent verdict of the training set",
    "last_photo": "logistic regression on the last face",
    "first_minus_last": "logistic regression on the first face minus the last",
    "convlstm": "this network",
    "convlstm_shuffled_photos": "this network, photos shuffled",
}
NO_CHANGE_NAMES = {
    "drawn": "synthetic lesions that relapse but do not change",
    "undrawn": "different real photos of one person, without synthetic lesions",
    "altered": "the same, half of the photos altered as in one of the next rows",
    "altered_light": "half of the photos in other light",
    "altered_distance": "half of the photos with a small face",
    "altered_blur": "half of the photos out of focus",
    "altered_glasses": "half of the photos with drawn glasses",
    "altered_compression": "half of the photos strongly compressed",
    "same_photo": "one real photo, three times",
}
RENDERER_NAMES = {
    "drawn_version_2": "lesions as in the evaluation of version 2",
    "drawn": "lesions with wider ranges than in training",
    "other_renderer": "lesions of other colours, sizes and edges, stronger camera, never trained on",
    "real": "photos labelled from notes of doctors",
}
NOT_FITTED = "The logistic regressions are missing: the training set does not contain both verdicts."
FEATURE_GRID = 5
"""The baseline models read a face as a grid of this many cells in each direction."""
INVERSE_REGULARIZATION = 0.01
"""``C`` of scikit-learn's logistic regression; small, because the training set has few people."""
UNSURE = (0.2, 0.8)
"""For a no-change control, a probability outside of this range is a confident error."""


def baseline_metrics(
    engine: ProgressEngine, train_series: Sequence[Series], val_series: Sequence[Series], *, seed: int = 0
) -> dict[str, BaselineMetrics]:
    """Return the metrics of every model on the validation series; the bootstrap resamples people.

    A baseline model that cannot be fitted on ``train_series`` is left out. Every series needs a verdict.
    """
    improved_B = np.array([int(one.improved) for one in val_series])
    person_B = np.array([one.person for one in val_series])
    shuffled = [_shuffled(one, np.random.default_rng([seed, row])) for row, one in enumerate(val_series)]
    verdicts = {
        **_baseline_verdicts(train_series, val_series),
        "convlstm": (predict_improved(engine, val_series) >= 0.5).astype(int),
        "convlstm_shuffled_photos": (predict_improved(engine, shuffled) >= 0.5).astype(int),
    }
    return {name: _metrics_of(improved_B, verdict_B, person_B) for name, verdict_B in verdicts.items()}


def no_change_metrics(
    engine: ProgressEngine, controls: Mapping[str, Sequence[Series]]
) -> dict[str, NoChangeMetrics]:
    """Return the distribution of the probability on every kind of no-change control that has series."""
    return {kind: _distribution(engine, series) for kind, series in controls.items() if series}


def _distribution(engine: ProgressEngine, series: Sequence[Series]) -> NoChangeMetrics:
    probability_B = predict_improved(engine, series)
    person_B = np.array([one.person for one in series])
    confident_B = (probability_B < UNSURE[0]) | (probability_B > UNSURE[1])
    return NoChangeMetrics(
        n=len(series),
        num_people=len(np.unique(person_B)),
        mean=two_stage_metric(lambda i: float(probability_B[i].mean()), person_B),
        std=two_stage_metric(lambda i: float(probability_B[i].std()), person_B),
        confident_share=two_stage_metric(lambda i: float(confident_B[i].mean()), person_B),
        lowest=round(float(probability_B.min()), DECIMALS),
        highest=round(float(probability_B.max()), DECIMALS),
    )


def _baseline_verdicts(train_series: Sequence[Series], val_series: Sequence[Series]) -> dict[str, np.ndarray]:
    """Return the verdicts, 0 or 1, (B,), of every baseline model that ``train_series`` can fit."""
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


def _metrics_of(improved_B: np.ndarray, verdict_B: np.ndarray, person_B: np.ndarray) -> BaselineMetrics:
    def recall_of(label: int) -> Metric:
        members = np.flatnonzero(improved_B == label)
        correct_B = (verdict_B == improved_B)[members]
        return two_stage_metric(lambda i: float(correct_B[i].mean()), person_B[members])

    return BaselineMetrics(
        balanced_accuracy=two_stage_metric(
            lambda i: float(recalls(improved_B[i], verdict_B[i]).mean()), person_B
        ),
        recall={"worsened": recall_of(0), "improved": recall_of(1)},
    )


def _fitted(features_BF: np.ndarray, improved_B: np.ndarray) -> Any:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=INVERSE_REGULARIZATION, max_iter=1000))
    return model.fit(features_BF, improved_B)


def _first_and_last(series: Sequence[Series]) -> tuple[np.ndarray, np.ndarray]:
    """Return the features of the first and last face of each series, (B, F)."""
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
    """Return the series with its faces in random order, without moving gaps."""
    faces = np.flatnonzero(one.present_T)
    photos_THWC = one.photos_THWC.copy()
    photos_THWC[faces] = one.photos_THWC[rng.permutation(faces)]
    return Series(
        photos_THWC=photos_THWC,
        present_T=one.present_T,
        improvement_T=one.improvement_T,
        person=one.person,
    )
