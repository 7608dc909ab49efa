"""Synthetic progress series: lesions on photos of people that appear and redden, or fade and disappear.

No public data set has face photos labelled improved and worsened. Every series is drawn as worsening; half of
them are reversed. Photos, light, pose and camera are sampled independently of the label.

Axes: T photo, H row, W column, C colour.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from models.face.alignment import MARGIN
from train.loop import Batch
from train.progress.config import ProgressTraining
from train.progress.face_crops import CROP_MARGIN, FaceCrop, Faces
from train.progress.series import Series, to_batch
from train.progress.synthetic.alterations import ALTERATIONS
from train.progress.synthetic.rendering import draw_blush, draw_lesions, take_photo
from train.progress.synthetic.trajectory import (
    SeriesDrawing,
    Trajectory,
    draw_camera,
    draw_length,
    draw_present,
    draw_worsening,
    for_no_change_validation,
    for_other_renderer,
    for_validation,
)

UNCLEAR_CHANGE, CLEAR_CHANGE = 0.1, 0.3
"""Changes of severity with target 0.5 below the first, 0 or 1 above the second, interpolated between."""
MIRRORING, VALIDATION, NO_CHANGE, REAL_NO_CHANGE, BASELINES, TRAINING, ALTERED, OTHER = range(8)
"""Parts of the seeds; each use has its own."""


class Pair(NamedTuple):
    """A series and its reverse."""

    worsening: Series
    improving: Series


def draw_pair(
    faces: Faces,
    drawing: SeriesDrawing,
    rng: np.random.Generator,
    *,
    size_px: int = 80,
    num_photos: int | None = None,
) -> Pair:
    """Draw one series and its reverse; equal states of ``rng`` give equal series.

    Args:
        faces: photos to draw on; each person is equally likely.
        drawing: ranges of the sampled parameters.
        rng: source of all randomness.
        size_px: side of the photos.
        num_photos: sampled if not given.
    """
    person = str(rng.choice(list(faces)))
    if num_photos is None:
        num_photos = draw_length(drawing, rng)
    trajectory = draw_worsening(drawing, rng, num_photos)
    chosen = rng.integers(len(faces[person]), size=num_photos)
    if rng.random() < drawing.one_photo_chance:
        chosen[:] = chosen[0]
    photos_THWC = _take_photos([faces[person][i] for i in chosen], trajectory, drawing, rng, size_px=size_px)
    present_T = draw_present(drawing, rng, num_photos)
    photos_THWC = photos_THWC * present_T[:, None, None, None].astype(np.uint8)
    both = [
        Series(
            photos_THWC=photos_THWC[::step],
            present_T=present_T[::step],
            improvement_T=improvement_of(trajectory.trend_T[::step], present_T[::step]),
            person=person,
        )
        for step in (1, -1)
    ]
    return Pair(*both)


def improvement_of(trend_T: np.ndarray, present_T: np.ndarray) -> np.ndarray:
    """Return the target after each photo: float32 (T,), 0 or 1 for a clear change, else towards 0.5.

    A photo without a face has the target of the photo before it.

    Args:
        trend_T: severity, 0 to 1, without relapses.
        present_T: whether a photo has a face.
    """
    position_T = np.where(present_T, np.arange(len(present_T)), -1)
    seen_T = np.maximum(np.maximum.accumulate(position_T), present_T.argmax())
    change_T = trend_T[present_T.argmax()] - trend_T[seen_T]
    clear_T = np.clip((np.abs(change_T) - UNCLEAR_CHANGE) / (CLEAR_CHANGE - UNCLEAR_CHANGE), 0, 1)
    return (0.5 + 0.5 * np.sign(change_T) * clear_T).astype(np.float32)


def validation_series(
    faces: Faces, drawing: SeriesDrawing, *, num_series: int, seed: int, size_px: int = 80
) -> list[Series]:
    """Draw the validation series, with wider ranges than in training; equal at every call."""
    return _drawn(faces, for_validation(drawing), num_series, [seed, VALIDATION], size_px)


def training_series(
    faces: Faces, drawing: SeriesDrawing, *, num_series: int, seed: int, size_px: int = 80
) -> list[Series]:
    """Draw the training series of the baselines, all with a verdict; equal at every call."""
    return _drawn(faces, replace(drawing, no_change_chance=0.0), num_series, [seed, BASELINES], size_px)


def no_change_series(
    faces: Faces, drawing: SeriesDrawing, *, num_series: int, seed: int, size_px: int = 80
) -> list[Series]:
    """Draw no-change controls: lesions that relapse but do not change; equal at every call."""
    return _drawn(faces, for_no_change_validation(drawing), num_series, [seed, NO_CHANGE], size_px)


def real_no_change_series(
    faces: Faces, drawing: SeriesDrawing, *, num_series: int, seed: int
) -> list[Series]:
    """Choose no-change controls: unmodified photos of one person, as in serving; equal at every call."""
    series: list[Series] = []
    several = [person for person, crops in faces.items() if len(crops) > 1]
    for index in range(num_series if several else 0):
        rng = np.random.default_rng([seed, REAL_NO_CHANGE, index])
        person = str(rng.choice(several))
        crops = faces[person]
        num_photos = min(draw_length(drawing, rng), len(crops))
        chosen = rng.choice(len(crops), num_photos, replace=False)
        series.append(
            Series(
                photos_THWC=np.stack([crops[i].served_HWC for i in chosen]),
                present_T=np.ones(num_photos, bool),
                improvement_T=np.full(num_photos, 0.5, np.float32),
                person=person,
            )
        )
    return series


def altered_series(
    series: Sequence[Series], *, seed: int, names: Sequence[str] = tuple(ALTERATIONS)
) -> list[Series]:
    """Return the series with half of their photos altered: light, distance, blur, glasses, compression."""
    altered: list[Series] = []
    for index, one in enumerate(series):
        rng = np.random.default_rng([seed, ALTERED, index])
        photos_THWC = one.photos_THWC.copy()
        for photo_HWC in photos_THWC:
            if rng.random() < 0.5:
                photo_HWC[:] = ALTERATIONS[str(rng.choice(list(names)))](photo_HWC, rng)
        altered.append(replace(one, photos_THWC=photos_THWC))
    return altered


def same_photo_series(faces: Faces, *, num_photos: int = 3) -> list[Series]:
    """Return a series of one photo repeated, for each photo."""
    return [
        Series(
            photos_THWC=np.stack([crop.served_HWC] * num_photos),
            present_T=np.ones(num_photos, bool),
            improvement_T=np.full(num_photos, 0.5, np.float32),
            person=person,
        )
        for person, crops in faces.items()
        for crop in crops
    ]


def other_renderer_series(
    faces: Faces, drawing: SeriesDrawing, *, num_series: int, seed: int, size_px: int = 80
) -> list[Series]:
    """Draw series with lesions and a camera outside of the training's ranges; equal at every call."""
    return _drawn(faces, for_other_renderer(drawing), num_series, [seed, OTHER], size_px)


class SyntheticSeriesBatches:
    """Yield batches with each series forwards and backwards, all of one length.

    Photos, light and camera are thus the same for both labels. The first ``drawn_epochs`` epochs are drawn on
    demand; later epochs repeat them. Each pair is mirrored left to right with probability 0.5.
    """

    def __init__(self, faces: Faces, config: ProgressTraining) -> None:
        self.epoch = 0
        self._faces = faces
        self._config = config
        self._drawn: dict[tuple[int, int], list[Pair]] = {}

    def __len__(self) -> int:
        return self._config.batches_per_epoch

    def __iter__(self) -> Iterator[Batch]:
        config = self._config
        for number in range(len(self)):
            rng = np.random.default_rng([config.seed, MIRRORING, self.epoch, number])
            pairs = [
                _mirrored(pair) if rng.random() < 0.5 else pair
                for pair in self._pairs(self.epoch % config.drawn_epochs, number)
            ]
            series = [pair.worsening for pair in pairs] + [pair.improving for pair in pairs]
            yield to_batch(series, config.device)

    def _pairs(self, epoch: int, number: int) -> list[Pair]:
        config = self._config
        if (epoch, number) not in self._drawn:
            rng = np.random.default_rng([config.seed, TRAINING, epoch, number])
            num_photos = draw_length(config.drawing, rng)
            self._drawn[epoch, number] = [
                draw_pair(self._faces, config.drawing, rng, size_px=config.input_px, num_photos=num_photos)
                for _ in range(config.batch_size // 2)
            ]
        return self._drawn[epoch, number]


def in_batches(series: Sequence[Series], config: ProgressTraining) -> Iterator[Batch]:
    """Yield all series once, in order, as batches."""
    for start in range(0, len(series), config.batch_size):
        yield to_batch(series[start : start + config.batch_size], config.device)


def _mirrored(pair: Pair) -> Pair:
    return Pair(*(replace(series, photos_THWC=series.photos_THWC[:, :, ::-1]) for series in pair))


def _drawn(
    faces: Faces, drawing: SeriesDrawing, num_series: int, seed: list[int], size_px: int
) -> list[Series]:
    """Draw every series with a random generator of its own; half of them improve."""
    generators = [np.random.default_rng([*seed, index]) for index in range(num_series)]
    return [draw_pair(faces, drawing, rng, size_px=size_px)[int(rng.integers(2))] for rng in generators]


def _take_photos(
    crops: list[FaceCrop],
    trajectory: Trajectory,
    drawing: SeriesDrawing,
    rng: np.random.Generator,
    *,
    size_px: int,
) -> np.ndarray:
    photos: list[np.ndarray] = []
    for crop, lesions in zip(crops, trajectory.lesions_T, strict=True):
        face_HWC = crop.crop_HWC
        if trajectory.blush:
            face_HWC = draw_blush(face_HWC, crop.skin_HW, crop.map_23, trajectory.blush)
        if lesions:
            face_HWC = draw_lesions(face_HWC, crop.skin_HW, crop.map_23, lesions)
        photo_HWC = take_photo(
            face_HWC,
            draw_camera(drawing, rng),
            crop_share=(1 + 2 * MARGIN) / (1 + 2 * CROP_MARGIN),
            size_px=size_px,
            rng=rng,
        )
        if drawing.altered_chance and rng.random() < drawing.altered_chance:
            photo_HWC = ALTERATIONS[str(rng.choice(list(ALTERATIONS)))](photo_HWC, rng)
        photos.append(photo_HWC)
    return np.stack(photos)
