"""Photos of people to face crops with room around them, and the split by person.

Axes: H row, W column, C colour.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import train_test_split

from models.face import FaceFinder, crop_square
from models.images import PhotoError, decode_bounded
from train.data import ManifestError, Row, Split, fingerprint_of
from train.skin import face_to_pixels, skin_of

CUT_PX = 128
CUT_MARGIN = 0.5
SERVED_MARGIN = 0.2
"""Border of the crops that ``FaceFinder`` serves; the faces here are cut wider, for pose to have room."""
MIN_PEOPLE = 4
MIN_SKIN_LIGHT = 50
"""Mean grey level of the skin; in a darker face, against the light, nobody would see a lesion."""


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


def split_by_person(rows: Sequence[Row], *, val_fraction: float, seed: int) -> Split:
    """Put whole people on one side or the other, by lot, of those with many photos and of those with few.

    Unlike ``train.data.split_by_group`` this counts people, not photos, and another seed holds out others.

    Raises:
        ManifestError: there are too few people.
    """
    count = Counter(row.group for row in rows)
    if len(count) < MIN_PEOPLE:
        raise ManifestError(
            f"the manifest has {len(count)} people, {MIN_PEOPLE} are needed; add photos of more"
        )
    people = sorted(count)
    middle = (min(count.values()) + max(count.values())) / 2
    kinds = ["many" if count[person] >= middle else "few" for person in people]
    if min(Counter(kinds).values()) < MIN_PEOPLE / 2:
        kinds = ["any"] * len(people)
    train_people, _ = train_test_split(people, test_size=val_fraction, stratify=kinds, random_state=seed)
    train = tuple(row for row in rows if row.group in train_people)
    val = tuple(row for row in rows if row.group not in train_people)
    return Split(train=train, val=val, fingerprint=fingerprint_of(train, val))


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
