"""Progress sequences made from photos of people: lesions are drawn that come and redden, or fade and go.

There is no public set of face photos labelled improved and worsened. Every sequence is drawn as worsening;
half of them are played backwards. All else (which photos, light, pose, camera) is drawn by lot without regard
to the label, so it cannot give the label away.

Axes: B sequence, T photo, H row, W column, C colour, K lesion.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from models.transforms import normalize
from train.config import ProgressTraining
from train.drawing import (
    SequenceDrawing,
    draw_camera,
    draw_length,
    draw_present,
    draw_worsening,
    for_validation,
)
from train.faces import CUT_MARGIN, SERVED_MARGIN, Faces
from train.loop import Batch
from train.skin import draw_lesions, take_photo

CLEAR_CHANGE = 0.3
"""Change of severity from which on a judge has no doubt."""
TRAINING, VALIDATION = 0, 1
"""Seeds of the two kinds of sequences are never the same."""


@dataclass(frozen=True, kw_only=True)
class ProgressSequence:
    """One person over time."""

    photos_THWC: np.ndarray
    """uint8; zero where there is no face."""
    present_T: np.ndarray
    trend_T: np.ndarray
    """Severity, 0 to 1, without the relapses."""
    person: str

    @property
    def improved(self) -> bool:
        """Whether the last face is better than the first."""
        first, *_, last = np.flatnonzero(self.present_T)
        return bool(self.trend_T[last] < self.trend_T[first])

    def improvement(self) -> np.ndarray:
        """Return what a perfect judge says after each photo: (T,), 0 worsened, 0.5 no change yet, 1 improved.

        A photo without a face repeats the one before it.
        """
        position_T = np.where(self.present_T, np.arange(len(self.present_T)), -1)
        seen_T = np.maximum(np.maximum.accumulate(position_T), self.present_T.argmax())
        change_T = self.trend_T[self.present_T.argmax()] - self.trend_T[seen_T]
        return 0.5 + 0.5 * np.clip(change_T / CLEAR_CHANGE, -1, 1)


def draw_sequence(
    faces: Faces,
    drawing: SequenceDrawing,
    rng: np.random.Generator,
    *,
    size_px: int = 80,
    num_photos: int | None = None,
) -> ProgressSequence:
    """Draw one sequence; equal states of ``rng`` give equal sequences.

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
    course = draw_worsening(drawing, rng, num_photos)
    if rng.random() < 0.5:
        course = course.backwards()
    cuts = faces[person]
    chosen = rng.integers(len(cuts), size=num_photos)
    if rng.random() < drawing.one_photo_chance:
        chosen[:] = chosen[0]
    photos = [
        take_photo(
            draw_lesions(cuts[i].crop_HWC, cuts[i].skin_HW, cuts[i].map_23, lesions),
            draw_camera(drawing, rng),
            crop_share=(1 + 2 * SERVED_MARGIN) / (1 + 2 * CUT_MARGIN),
            size_px=size_px,
            rng=rng,
        )
        for i, lesions in zip(chosen, course.lesions_T, strict=True)
    ]
    photos_THWC = np.stack(photos)
    if rng.random() < 0.5:
        photos_THWC = photos_THWC[:, :, ::-1]
    present_T = draw_present(drawing, rng, num_photos)
    photos_THWC = photos_THWC * present_T[:, None, None, None].astype(np.uint8)
    return ProgressSequence(
        photos_THWC=photos_THWC, present_T=present_T, trend_T=course.trend_T, person=person
    )


def validation_sequences(
    faces: Faces, drawing: SequenceDrawing, *, num_sequences: int, seed: int, size_px: int = 80
) -> list[ProgressSequence]:
    """Return the same sequences at every call, drawn a little differently from those of training."""
    drawing = for_validation(drawing)
    return [
        draw_sequence(faces, drawing, np.random.default_rng([seed, VALIDATION, index]), size_px=size_px)
        for index in range(num_sequences)
    ]


class SequenceBatches:
    """Batches of one epoch after the other, drawn as they are asked for.

    The sequences of a batch are equally long, and each is in it forwards and backwards, so that photos, light
    and camera are the same for both labels.
    """

    def __init__(self, faces: Faces, config: ProgressTraining) -> None:
        self.epoch = 0
        self._faces = faces
        self._config = config

    def __len__(self) -> int:
        return self._config.batches_per_epoch

    def __iter__(self) -> Iterator[Batch]:
        config = self._config
        for number in range(len(self)):
            rng = np.random.default_rng([config.seed, TRAINING, self.epoch, number])
            num_photos = draw_length(config.drawing, rng)
            drawn = [
                draw_sequence(
                    self._faces, config.drawing, rng, size_px=config.input_px, num_photos=num_photos
                )
                for _ in range(config.batch_size // 2)
            ]
            yield to_batch([*drawn, *(backwards(sequence) for sequence in drawn)], config.device)


def batches_of(sequences: Sequence[ProgressSequence], config: ProgressTraining) -> Iterator[Batch]:
    """Yield all sequences once, in order."""
    for start in range(0, len(sequences), config.batch_size):
        yield to_batch(sequences[start : start + config.batch_size], config.device)


def backwards(sequence: ProgressSequence) -> ProgressSequence:
    """Return the same photos in the opposite order, which turns the label around."""
    return replace(
        sequence,
        photos_THWC=sequence.photos_THWC[::-1],
        present_T=sequence.present_T[::-1],
        trend_T=sequence.trend_T[::-1],
    )


def to_batch(sequences: Sequence[ProgressSequence], device: str = "cpu") -> Batch:
    """Pad sequences at their end to one length: ``photos``, ``present`` and ``improvement``, (B, T)."""
    longest = max(len(sequence.present_T) for sequence in sequences)
    shape = sequences[0].photos_THWC.shape[1:]
    photos_BTHWC = np.zeros((len(sequences), longest, *shape), np.uint8)
    present_BT = np.zeros((len(sequences), longest), bool)
    improvement_BT = np.zeros((len(sequences), longest), np.float32)
    for row, sequence in enumerate(sequences):
        photos_BTHWC[row, : len(sequence.present_T)] = sequence.photos_THWC
        present_BT[row, : len(sequence.present_T)] = sequence.present_T
        improvement_T = sequence.improvement()
        improvement_BT[row] = improvement_T[-1]
        improvement_BT[row, : len(improvement_T)] = improvement_T
    return {
        "photos": normalize(torch.from_numpy(photos_BTHWC).to(device)),
        "present": torch.from_numpy(present_BT).to(device),
        "improvement": torch.from_numpy(improvement_BT).to(device),
    }
