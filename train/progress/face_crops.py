"""Aligned face crops with a border, for synthetic lesions.

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
"""Border of the crops that lesions are drawn on; wider than in serving, for changes of pose."""
MIN_SKIN_LIGHT = 50
"""Smallest mean grey level of the skin; lesions are invisible in darker faces, such as against the light."""


@dataclass(frozen=True, kw_only=True)
class FaceCrop:
    """Crops of one photo of a person."""

    served_HWC: np.ndarray
    """uint8, the crop as in serving."""
    crop_HWC: np.ndarray
    """uint8, (CROP_PX, CROP_PX, 3), with ``CROP_MARGIN`` around the face."""
    skin_HW: np.ndarray
    map_23: np.ndarray
    """Maps face coordinates to pixels of ``crop_HWC``."""


Faces = dict[str, list[FaceCrop]]
"""Face crops by person."""


def crop_faces(rows: Sequence[Row], detector: MtcnnFaceDetector) -> Faces:
    """Detect and crop the face of every photo.

    Unreadable photos, photos without a face and dark faces are skipped and counted in the log, as are people
    without any other photo.

    Raises:
        ManifestError: no photo has a usable face.
    """
    faces: Faces = {}
    unreadable = 0
    for row in rows:
        try:
            image_HWC = decode_bounded(read_bytes(row.image), max_side_px=640).image_HWC
        except (PhotoError, StorageError):
            unreadable += 1
            continue
        location = detector.detect([image_HWC])[0]
        crop = crop_face(image_HWC, location, served_px=detector.size_px) if location else None
        if crop and (crop.crop_HWC.mean(-1) * crop.skin_HW).sum() >= MIN_SKIN_LIGHT * crop.skin_HW.sum():
            faces.setdefault(row.person, []).append(crop)
    num_crops = sum(map(len, faces.values()))
    if not num_crops:
        raise ManifestError(
            f"no usable face in any of {len(rows)} photos, {unreadable} of them unreadable; "
            "give a manifest of photos of people"
        )
    if num_crops < len(rows):
        unusable = len(rows) - num_crops - unreadable
        skipped = len({row.person for row in rows}) - len(faces)
        log.warning(
            f"of {len(rows)} photos {unreadable} cannot be read and {unusable} have no face bright enough; "
            f"{skipped} people are skipped"
        )
    return faces


def crop_face(image_HWC: np.ndarray, location: FaceLocation, *, served_px: int = 80) -> FaceCrop:
    """Crop one face as in serving, and again with a wider border."""
    crop_HWC = crop_aligned(image_HWC, location, margin=CROP_MARGIN, size_px=CROP_PX)
    unit, centre = align(location.landmarks, location.box)
    from_centre_5 = (np.array(location.landmarks) @ [1, 1j] - centre) / unit
    pixel_5 = CROP_PX * (from_centre_5 / (FACE_SIDE * (1 + 2 * CROP_MARGIN)) + 0.5 + 0.5j)
    map_23 = face_to_pixels(np.stack([pixel_5.real, pixel_5.imag], axis=1))
    return FaceCrop(
        served_HWC=crop_aligned(image_HWC, location, size_px=served_px),
        crop_HWC=crop_HWC,
        skin_HW=skin_of(crop_HWC, map_23),
        map_23=map_23,
    )
