"""Progress sequences made from photos of people: lesions are drawn that come and redden, or fade and go.

There is no public set of face photos labelled improved and worsened. Every sequence is drawn as worsening;
half of them are played backwards. All else (which photos, light, pose, camera, the person's own redness) is
drawn by
lot without regard to the label, so it cannot give the label away.

Axes: B sequence, T photo, H row, W column, C colour, K lesion.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from models.face import FaceFinder, crop_square
from models.images import PhotoError, decode_bounded
from models.transforms import normalize
from train.config import ProgressTraining
from train.data import ManifestError, Row, Split, split_by_group
from train.drawing import (
    SequenceDrawing,
    draw_camera,
    draw_length,
    draw_present,
    draw_worsening,
    for_validation,
)
from train.loop import Batch
from train.skin import draw_lesions, face_to_pixels, skin_of, take_photo

CUT_PX = 128
CUT_MARGIN = 0.5
SERVED_MARGIN = 0.2
"""Border of the crops that ``FaceFinder`` serves; the faces here are cut wider, for pose to have room."""
MIN_SKIN_LIGHT = 50
"""Mean grey level of the skin; in a darker face, against the light, nobody would see a lesion."""

TRAINING, VALIDATION = 0, 1
"""Seeds of the two kinds of sequences are never the same."""


@dataclass(frozen=True, kw_only=True)
class CutFace:
    """One photo of a person, cut once."""

    crop_HWC: np.ndarray
    """uint8, (CUT_PX, CUT_PX, 3), with ``CUT_MARGIN`` around the face."""
    skin_HW: np.ndarray
    map_23: np.ndarray
    """Face coordinates to pixels of the crop."""


Faces = dict[str, list[CutFace]]
"""Person to faces."""


@dataclass(frozen=True, kw_only=True)
class ProgressSequence:
    """One person over time."""

    photos_THWC: np.ndarray
    """uint8; zero where there is no face."""
    present_T: np.ndarray
    improved: bool
    person: str


def split_by_person(rows: Sequence[Row], *, val_fraction: float, seed: int) -> Split:
    """Put whole persons on one side or the other, both those with many photos and those with few.

    Raises:
        ManifestError: there are too few persons.
    """
    count = Counter(row.group for row in rows)
    middle = np.mean([min(count.values()), max(count.values())]) if count else 0
    kinds = {person: "many" if count[person] >= middle else "few" for person in count}
    if min(Counter(kinds.values()).values(), default=0) < round(1 / val_fraction):
        kinds = dict.fromkeys(kinds, "any")
    return split_by_group(
        [replace(row, label=kinds[row.group]) for row in rows], val_fraction=val_fraction, seed=seed
    )


def cut_faces(rows: Sequence[Row], finder: FaceFinder) -> Faces:
    """Find and cut the face of every photo, once; photos without a face are left out.

    Raises:
        ManifestError: a photo cannot be read, or a person has no photo with a face.
    """
    faces: Faces = {row.group: [] for row in rows}
    for row in rows:
        try:
            image_HWC = decode_bounded(row.image.read_bytes(), max_side_px=640).image_HWC
        except PhotoError as error:
            raise ManifestError(f"{row.image}: {error}") from error
        found = finder.locate([image_HWC])[0]
        if found is not None:
            cut = cut_face(image_HWC, found.box, np.array(found.landmarks))
            if (cut.crop_HWC.mean(-1) * cut.skin_HW).sum() >= MIN_SKIN_LIGHT * cut.skin_HW.sum():
                faces[row.group].append(cut)
    empty = [person for person, cuts in faces.items() if not cuts]
    if empty:
        raise ManifestError(f"no face in any photo of {', '.join(empty)}; take them out of the manifest")
    return faces


def cut_face(
    image_HWC: np.ndarray, box: tuple[float, float, float, float], landmarks_52: np.ndarray
) -> CutFace:
    """Cut one face with room around it; landmarks are (x, y) in pixels of the photo."""
    crop_HWC = crop_square(image_HWC, box, margin=CUT_MARGIN, size_px=CUT_PX)
    side = max(box[2] - box[0], box[3] - box[1]) * (1 + 2 * CUT_MARGIN)
    corner = np.array([box[0] + box[2] - side, box[1] + box[3] - side]) / 2
    map_23 = face_to_pixels((landmarks_52 - corner) * CUT_PX / side)
    return CutFace(crop_HWC=crop_HWC, skin_HW=skin_of(crop_HWC, map_23), map_23=map_23)


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
    lesions_T = draw_worsening(drawing, rng, num_photos)
    improved = bool(rng.random() < 0.5)
    if improved:
        lesions_T = lesions_T[::-1]
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
        for i, lesions in zip(chosen, lesions_T, strict=True)
    ]
    photos_THWC = np.stack(photos)
    if rng.random() < 0.5:
        photos_THWC = photos_THWC[:, :, ::-1]
    present_T = draw_present(drawing, rng, num_photos)
    photos_THWC = photos_THWC * present_T[:, None, None, None].astype(np.uint8)
    return ProgressSequence(photos_THWC=photos_THWC, present_T=present_T, improved=improved, person=person)


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
    """Return the same photos in the opposite order, with the opposite label."""
    return replace(
        sequence,
        photos_THWC=sequence.photos_THWC[::-1],
        present_T=sequence.present_T[::-1],
        improved=not sequence.improved,
    )


def to_batch(sequences: Sequence[ProgressSequence], device: str = "cpu") -> Batch:
    """Pad sequences at their end to one length and return what the network reads, and ``improved`` (B,)."""
    longest = max(len(sequence.present_T) for sequence in sequences)
    shape = sequences[0].photos_THWC.shape[1:]
    photos_BTHWC = np.zeros((len(sequences), longest, *shape), np.uint8)
    present_BT = np.zeros((len(sequences), longest), bool)
    for row, sequence in enumerate(sequences):
        photos_BTHWC[row, : len(sequence.present_T)] = sequence.photos_THWC
        present_BT[row, : len(sequence.present_T)] = sequence.present_T
    return {
        "photos": normalize(torch.from_numpy(photos_BTHWC).to(device)),
        "present": torch.from_numpy(present_BT).to(device),
        "improved": torch.tensor([int(sequence.improved) for sequence in sequences], device=device),
    }
