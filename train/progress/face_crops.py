"""Photos of people to aligned face crops with room around them.

Axes: H row, W column, C colour.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.face.alignment import FACE_SIDE, align
from models.face.detector import FaceLocation, MtcnnFaceDetector, crop_aligned
from models.images import PhotoError, decode_bounded
from models.storage import StorageError, read_bytes
from train.data.manifest import ManifestError, Row
from train.progress.synthetic.rendering import face_to_pixels, skin_of

log = logging.getLogger(__name__)

CROP_PX = 112
CROP_MARGIN = 0.17
"""Border of the faces here, which lesions are drawn on; wider than the served one, for pose to have room."""
MIN_SKIN_LIGHT = 50
"""Mean grey level of the skin; in a darker face, against the light, nobody would see a lesion."""


@dataclass(frozen=True, kw_only=True)
class FaceCrop:
    """One photo of a person, cut once."""

    served_HWC: np.ndarray
    """uint8, the crop that serving cuts from the photo."""
    crop_HWC: np.ndarray
    """uint8, (CROP_PX, CROP_PX, 3), with ``CROP_MARGIN`` around the face."""
    skin_HW: np.ndarray
    map_23: np.ndarray
    """Face coordinates to pixels of ``crop_HWC``."""


Faces = dict[str, list[FaceCrop]]
"""Person to faces."""


def crop_faces(rows: Sequence[Row], detector: MtcnnFaceDetector) -> Faces:
    """Find and cut the face of every photo, once.

    Photos that cannot be read, or in which nobody would see a face or a lesion, are left out and counted in
    the log; so is a person who has no other.

    Raises:
        ManifestError: no face is left.
    """
    faces: Faces = {}
    unreadable = 0
    for row in rows:
        try:
            image_HWC = decode_bounded(read_bytes(row.image), max_side_px=640).image_HWC
        except (PhotoError, StorageError):
            unreadable += 1
            continue
        found = detector.detect([image_HWC])[0]
        cut = crop_face(image_HWC, found, served_px=detector.size_px) if found else None
        if cut and (cut.crop_HWC.mean(-1) * cut.skin_HW).sum() >= MIN_SKIN_LIGHT * cut.skin_HW.sum():
            faces.setdefault(row.person, []).append(cut)
    num_cut = sum(map(len, faces.values()))
    if not num_cut:
        raise ManifestError(
            f"no usable face in any of {len(rows)} photos, {unreadable} of them unreadable; "
            "give a manifest of photos of people"
        )
    if num_cut < len(rows):
        unusable = len(rows) - num_cut - unreadable
        lost = len({row.person for row in rows}) - len(faces)
        log.warning(
            f"of {len(rows)} photos {unreadable} cannot be read and {unusable} have no face bright enough; "
            f"{lost} people are left out"
        )
    return faces


def crop_face(image_HWC: np.ndarray, found: FaceLocation, *, served_px: int = 80) -> FaceCrop:
    """Cut one face as it is served, and again with room around it."""
    crop_HWC = crop_aligned(image_HWC, found, margin=CROP_MARGIN, size_px=CROP_PX)
    unit, centre = align(found.landmarks, found.box)
    from_centre_5 = (np.array(found.landmarks) @ [1, 1j] - centre) / unit
    pixel_5 = CROP_PX * (from_centre_5 / (FACE_SIDE * (1 + 2 * CROP_MARGIN)) + 0.5 + 0.5j)
    map_23 = face_to_pixels(np.stack([pixel_5.real, pixel_5.imag], axis=1))
    return FaceCrop(
        served_HWC=crop_aligned(image_HWC, found, size_px=served_px),
        crop_HWC=crop_HWC,
        skin_HW=skin_of(crop_HWC, map_23),
        map_23=map_23,
    )
