"""Progress sequences made from photos of people: lesions are drawn that come and redden, or fade and go.

There is no public set of face photos labelled improved and worsened. Every sequence is drawn as worsening; half of
them are played backwards. All else (which photos, light, pose, camera, the person's own redness) is drawn by lot
without regard to the label, so it cannot give the label away.

Axes: B sequence, T photo, H row, W column, C colour, K lesion.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from models.face import FaceFinder, crop_square
from models.images import PhotoError, decode_bounded
from models.progress import LABELS
from models.transforms import normalize
from train.data import ManifestError, Row, Split, split_by_group
from train.loop import Batch
from train.skin import Camera, Lesions, draw_lesions, face_to_pixels, skin_of, take_photo

CUT_PX = 128
CUT_MARGIN = 0.5
SERVED_MARGIN = 0.2
"""Border of the crops that ``models.face.FaceFinder`` serves; the faces here are cut wider, for pose to have room."""
MIN_SKIN_LIGHT = 50
"""Mean grey level of the skin; in a darker face, against the light, nobody would see a lesion."""
Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class SequenceDrawing:
    """What sequences are drawn from; ranges are lowest and highest."""

    num_photos: tuple[int, int] = (2, 12)
    absent_chance: float = 0.1
    """Of each photo, to have no face; two faces remain."""
    one_photo_chance: float = 0.25
    """Of a sequence, to be drawn on one and the same photo of the person throughout."""
    num_lesions: tuple[int, int] = (12, 60)
    """At the worst time."""
    radius: Range = (0.035, 0.075)
    """Of a lesion's core, in distances between the eyes."""
    start: Range = (0.0, 0.4)
    """Severity at the better end, of 1."""
    change: Range = (0.5, 1.0)
    """By how much severity differs at the worse end, at most up to 1."""
    relapse: float = 0.07
    """Standard deviation of a photo's severity from its trend."""
    turn_deg: float = 6.0
    scale: float = 0.06
    shift: float = 0.03
    gain: float = 0.12
    white_balance: float = 0.04
    side_light: float = 0.15
    blur_px: float = 0.6
    noise: float = 4.0
    jpeg_quality: tuple[int, int] = (45, 95)

    def __post_init__(self) -> None:
        if not 2 <= self.num_photos[0] <= self.num_photos[1]:
            raise ValueError(f"num_photos is {self.num_photos}, must be at least 2, lowest first")
        if not 0 <= self.absent_chance < 1 or not 0 <= self.one_photo_chance <= 1:
            raise ValueError("absent_chance and one_photo_chance are chances: 0 to 1")
        for name in ("num_lesions", "radius", "start", "change", "jpeg_quality"):
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise ValueError(f"{name} is ({low}, {high}), must be lowest first and not negative")
        if self.start[1] + self.change[0] > 1:
            raise ValueError(f"start {self.start} plus change {self.change} leaves no room below severity 1")


VALIDATION_CHANGES = {
    "radius": (0.022, 0.07),
    "num_lesions": (5, 70),
    "turn_deg": 8.0,
    "gain": 0.15,
    "noise": 6.0,
}
"""How validation differs from training in what it draws, so that a little is asked that was not practised."""


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
            _draw_camera(drawing, rng),
            crop_share=(1 + 2 * SERVED_MARGIN) / (1 + 2 * CUT_MARGIN),
            size_px=size_px,
            rng=rng,
        )
        for i, lesions in zip(chosen, lesions_T, strict=True)
    ]
    photos_THWC = np.stack(photos)
    if rng.random() < 0.5:
        photos_THWC = photos_THWC[:, :, ::-1]
    present_T = _draw_present(drawing, rng, num_photos)
    photos_THWC = photos_THWC * present_T[:, None, None, None].astype(np.uint8)
    return ProgressSequence(photos_THWC=photos_THWC, present_T=present_T, improved=improved, person=person)


def draw_length(drawing: SequenceDrawing, rng: np.random.Generator) -> int:
    """Draw a number of photos; short series are commoner."""
    low, high = drawing.num_photos
    return int(np.exp(rng.uniform(np.log(low), np.log(high + 1))))


def draw_worsening(drawing: SequenceDrawing, rng: np.random.Generator, num_photos: int) -> list[Lesions]:
    """Draw the lesions of one person at each of ``num_photos`` times, mildest first; they stay where they are.

    Their number, size and redness follow one severity, each to its own degree; number or redness always follows.
    Moles, and lesions that come and go by themselves, do not.
    """
    start = rng.uniform(*drawing.start)
    end = start + rng.uniform(drawing.change[0], min(drawing.change[1], 1 - start))
    way_T = np.concatenate([[0], np.sort(rng.random(num_photos - 2)), [1]])
    severity_T = np.clip(start + (end - start) * way_T + rng.normal(0, drawing.relapse, num_photos), 0, 1)
    follows_number, follows_redness = (1, 1) if rng.random() < 0.6 else rng.permutation(2)
    by_number = follows_number * rng.uniform(0.6, 1.0)
    by_redness = follows_redness * rng.uniform(0.5, 0.9)
    by_size = rng.uniform(0.0, 0.5)

    most = round(float(np.exp(rng.uniform(*np.log(drawing.num_lesions)))))
    num_moles = int(rng.integers(0, 4))
    brown_K = np.arange(most + num_moles) >= most
    place_K2 = _draw_places(rng, len(brown_K))
    radius_K = np.exp(rng.uniform(*np.log(drawing.radius), len(brown_K))) * rng.uniform(0.8, 1.2)
    patch_K = ~brown_K & (rng.random(len(brown_K)) < rng.choice([0.0, 0.15]))
    halo_K = np.where(patch_K, rng.uniform(3, 5, len(brown_K)), rng.uniform(1.4, 2.6, len(brown_K)))
    redness_K = rng.uniform(0.6, 1.0) * rng.uniform(0.7, 1.0, len(brown_K))
    lesions_T = []
    for severity in severity_T:
        number = most * (1 - by_number + by_number * severity) + 0.5
        there_K = np.clip(number - np.arange(len(brown_K)) + rng.normal(0, 1, len(brown_K)), 0, 1)
        strength_K = there_K * redness_K * (1 - by_redness + by_redness * severity)
        lesions_T.append(
            Lesions(
                place_K2=place_K2,
                radius_K=np.where(brown_K, radius_K, radius_K * (1 - by_size + by_size * severity)),
                halo_K=halo_K,
                strength_K=np.where(brown_K, redness_K, strength_K),
                brown_K=brown_K,
            )
        )
    return lesions_T


def validation_sequences(
    faces: Faces, drawing: SequenceDrawing, *, num_sequences: int, seed: int, size_px: int = 80
) -> list[ProgressSequence]:
    """Return the same sequences at every call, drawn a little differently from those of training."""
    harder = replace(drawing, **VALIDATION_CHANGES)
    return [
        draw_sequence(faces, harder, np.random.default_rng([seed, 1, index]), size_px=size_px)
        for index in range(num_sequences)
    ]


class SequenceBatches:
    """Batches of one epoch after the other, drawn as they are asked for; a batch's sequences are equally long."""

    def __init__(
        self,
        faces: Faces,
        drawing: SequenceDrawing,
        *,
        num_batches: int,
        batch_size: int,
        seed: int,
        size_px: int = 80,
        device: str = "cpu",
    ) -> None:
        self.epoch = 0
        self._faces, self._drawing = faces, drawing
        self._num_batches, self._batch_size = num_batches, batch_size
        self._seed, self._size_px, self._device = seed, size_px, device

    def __len__(self) -> int:
        return self._num_batches

    def __iter__(self) -> Iterator[Batch]:
        for number in range(self._num_batches):
            rng = np.random.default_rng([self._seed, 0, self.epoch, number])
            num_photos = draw_length(self._drawing, rng)
            drawn = [
                draw_sequence(self._faces, self._drawing, rng, size_px=self._size_px, num_photos=num_photos)
                for _ in range(self._batch_size // 2)
            ]
            yield to_batch([*drawn, *(backwards(sequence) for sequence in drawn)], self._device)


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
        "improved": torch.tensor(
            [LABELS.index("improved") if s.improved else LABELS.index("worsened") for s in sequences]
        ).to(device),
    }


def _draw_places(rng: np.random.Generator, count: int) -> np.ndarray:
    """(count, 2) places on cheeks, forehead, nose and chin; half of them near a few centres, as acne is."""
    centres = rng.uniform([-0.8, -0.8], [0.8, 1.7], (3, 2))
    places: list[np.ndarray] = []
    while len(places) < count:
        place = rng.uniform([-1.0, -0.9], [1.0, 1.8])
        if rng.random() < 0.5:
            place = centres[rng.integers(3)] + rng.normal(0, 0.25, 2)
        x, y = place
        on_face = (x / 0.95) ** 2 + ((y - 0.45) / 1.3) ** 2 < 1
        on_feature = (abs(y) < 0.22 and 0.2 < abs(x) < 0.8) or (abs(y - 1.1) < 0.2 and abs(x) < 0.5)
        if on_face and not on_feature:
            places.append(place)
    return np.array(places).reshape(count, 2)


def _draw_camera(drawing: SequenceDrawing, rng: np.random.Generator) -> Camera:
    gain = np.exp(rng.normal(0, drawing.gain) + rng.normal(0, drawing.white_balance, 3))
    x, y = rng.uniform(-drawing.shift, drawing.shift, 2)
    return Camera(
        turn_deg=rng.uniform(-drawing.turn_deg, drawing.turn_deg),
        scale=float(np.exp(rng.uniform(-drawing.scale, drawing.scale))),
        shift_2=(float(x), float(y)),
        gain_C=(float(gain[0]), float(gain[1]), float(gain[2])),
        gamma=float(np.exp(rng.normal(0, 0.1))),
        side_light=rng.uniform(0, drawing.side_light),
        side_light_deg=rng.uniform(0, 360),
        blur_px=rng.uniform(0, drawing.blur_px),
        noise=rng.uniform(0, drawing.noise),
        jpeg_quality=int(rng.integers(drawing.jpeg_quality[0], drawing.jpeg_quality[1] + 1)),
    )


def _draw_present(drawing: SequenceDrawing, rng: np.random.Generator, num_photos: int) -> np.ndarray:
    present_T = rng.random(num_photos) >= drawing.absent_chance
    present_T[rng.choice(num_photos, 2, replace=False)] = True
    return present_T
