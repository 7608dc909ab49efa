"""Progress series made from photos of people: lesions are drawn that come and redden, or fade and go.

There is no public set of face photos labelled improved and worsened. Every series is drawn as worsening;
half of them are played backwards. All else (which photos, light, pose, camera) is drawn by lot without regard
to the label, so it cannot give the label away.

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
from train.progress.synthetic.rendering import draw_lesions, take_photo
from train.progress.synthetic.trajectory import (
    SeriesDrawing,
    Trajectory,
    draw_camera,
    draw_length,
    draw_present,
    draw_worsening,
    for_no_change_validation,
    for_validation,
)

UNCLEAR_CHANGE, CLEAR_CHANGE = 0.1, 0.3
"""Changes of severity up to which a judge sees none, and from which on he has no doubt."""
TRAINING, VALIDATION, STEADY, UNDRAWN, PRACTICE, DRAWN = range(6)
"""Seeds of the kinds of series are never the same."""


class Pair(NamedTuple):
    """The same photos in both orders."""

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
    """Draw one series and its mirror in time; equal states of ``rng`` give equal series.

    Args:
        faces: whose photos to draw on; each person is equally likely.
        drawing: what may happen.
        rng: all randomness.
        size_px: side of the photos.
        num_photos: drawn by lot if not given.
    """
    person = str(rng.choice(list(faces)))
    if num_photos is None:
        num_photos = draw_length(drawing, rng)
    trajectory = draw_worsening(drawing, rng, num_photos)
    chosen = rng.integers(len(faces[person]), size=num_photos)
    if rng.random() < drawing.one_photo_chance:
        chosen[:] = chosen[0]
    photos_THWC = _photographed([faces[person][i] for i in chosen], trajectory, drawing, rng, size_px=size_px)
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
    """Return what a perfect judge says after each photo: float32 (T,), 0.5 and 0 or 1 for a clear change.

    A photo without a face repeats the one before it.

    Args:
        trend_T: severity, 0 to 1, without the relapses.
        present_T: which photos have a face.
    """
    position_T = np.where(present_T, np.arange(len(present_T)), -1)
    seen_T = np.maximum(np.maximum.accumulate(position_T), present_T.argmax())
    change_T = trend_T[present_T.argmax()] - trend_T[seen_T]
    sure_T = np.clip((np.abs(change_T) - UNCLEAR_CHANGE) / (CLEAR_CHANGE - UNCLEAR_CHANGE), 0, 1)
    return (0.5 + 0.5 * np.sign(change_T) * sure_T).astype(np.float32)


def validation_series(
    faces: Faces, drawing: SeriesDrawing, *, num_series: int, seed: int, size_px: int = 80
) -> list[Series]:
    """Return the same series at every call, drawn a little differently from those of training."""
    return _drawn(faces, for_validation(drawing), num_series, [seed, VALIDATION], size_px)


def training_series(
    faces: Faces, drawing: SeriesDrawing, *, num_series: int, seed: int, size_px: int = 80
) -> list[Series]:
    """Return the same series at every call, drawn as those of training that have a verdict."""
    return _drawn(faces, replace(drawing, no_change_chance=0.0), num_series, [seed, PRACTICE], size_px)


def no_change_series(
    faces: Faces, drawing: SeriesDrawing, *, num_series: int, seed: int, size_px: int = 80
) -> list[Series]:
    """Return the same series at every call, of lesions that relapse but do not change."""
    return _drawn(faces, for_no_change_validation(drawing), num_series, [seed, STEADY], size_px)


def real_no_change_series(
    faces: Faces, drawing: SeriesDrawing, *, num_series: int, seed: int
) -> list[Series]:
    """Return the same series at every call, of different photos of one person as they are served.

    Nothing is drawn on them and no camera is drawn by lot: what differs is what differed between the photos.
    """
    series: list[Series] = []
    several = [person for person, cuts in faces.items() if len(cuts) > 1]
    for index in range(num_series if several else 0):
        rng = np.random.default_rng([seed, UNDRAWN, index])
        person = str(rng.choice(several))
        cuts = faces[person]
        num_photos = min(draw_length(drawing, rng), len(cuts))
        chosen = rng.choice(len(cuts), num_photos, replace=False)
        series.append(
            Series(
                photos_THWC=np.stack([cuts[i].served_HWC for i in chosen]),
                present_T=np.ones(num_photos, bool),
                improvement_T=np.full(num_photos, 0.5, np.float32),
                person=person,
            )
        )
    return series


class SyntheticSeriesBatches:
    """Batches of one epoch after the other.

    The series of a batch are equally long, and each is in it forwards and backwards, so that photos, light
    and camera are the same for both labels. The first ``drawn_epochs`` epochs are drawn when they are asked
    for; later ones show the same series again. Each is mirrored left to right or not, by lot.
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
            rng = np.random.default_rng([config.seed, TRAINING, self.epoch, number])
            pairs = [
                _mirrored(pair) if rng.random() < 0.5 else pair
                for pair in self._pairs(self.epoch % config.drawn_epochs, number)
            ]
            series = [pair.worsening for pair in pairs] + [pair.improving for pair in pairs]
            yield to_batch(series, config.device)

    def _pairs(self, epoch: int, number: int) -> list[Pair]:
        config = self._config
        if (epoch, number) not in self._drawn:
            rng = np.random.default_rng([config.seed, DRAWN, epoch, number])
            num_photos = draw_length(config.drawing, rng)
            self._drawn[epoch, number] = [
                draw_pair(self._faces, config.drawing, rng, size_px=config.input_px, num_photos=num_photos)
                for _ in range(config.batch_size // 2)
            ]
        return self._drawn[epoch, number]


def in_batches(series: Sequence[Series], config: ProgressTraining) -> Iterator[Batch]:
    """Yield all series once, in order."""
    for start in range(0, len(series), config.batch_size):
        yield to_batch(series[start : start + config.batch_size], config.device)


def _mirrored(pair: Pair) -> Pair:
    return Pair(*(replace(series, photos_THWC=series.photos_THWC[:, :, ::-1]) for series in pair))


def _drawn(
    faces: Faces, drawing: SeriesDrawing, num_series: int, seed: list[int], size_px: int
) -> list[Series]:
    """Draw every series by a random generator of its own; half of them improve."""
    generators = [np.random.default_rng([*seed, index]) for index in range(num_series)]
    return [draw_pair(faces, drawing, rng, size_px=size_px)[int(rng.integers(2))] for rng in generators]


def _photographed(
    cuts: list[FaceCrop],
    trajectory: Trajectory,
    drawing: SeriesDrawing,
    rng: np.random.Generator,
    *,
    size_px: int,
) -> np.ndarray:
    photos = [
        take_photo(
            draw_lesions(cut.crop_HWC, cut.skin_HW, cut.map_23, lesions) if lesions else cut.crop_HWC,
            draw_camera(drawing, rng),
            crop_share=(1 + 2 * MARGIN) / (1 + 2 * CROP_MARGIN),
            size_px=size_px,
            rng=rng,
        )
        for cut, lesions in zip(cuts, trajectory.lesions_T, strict=True)
    ]
    return np.stack(photos)
