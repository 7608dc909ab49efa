"""Detect the largest face of each photo, and crop it aligned; importable without torch.

Axes: H height, W width, C colour (RGB).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from models.face.alignment import FACE_CENTRE, FACE_SIDE, MARGIN, Box, align, is_upright
from models.face.mtcnn import FoundFaces, Mtcnn

SURE_CONFIDENCE = 0.997
"""Faces below it are also searched in other orientations (docs/decisions/0022-face-orientation.md)."""
MIN_TURNED_CONFIDENCE = 0.95
"""Of a face in another orientation, if the upright search found no face with plausible landmarks."""
MIN_TURNED_FACE_FRACTION = 0.25
"""Smallest side of a face in another orientation, as a fraction of the photo's shorter side."""


@dataclass(frozen=True, kw_only=True)
class FaceLocation:
    """Box and landmarks of one detected face, in pixels of the photo."""

    box: Box
    """Left, top, right, bottom."""
    confidence: float
    landmarks: tuple[tuple[float, float], ...]
    """(x, y) of the left and the right eye, the nose, the left and the right corner of the mouth."""


@dataclass(frozen=True, kw_only=True)
class Face(FaceLocation):
    """One detected face with its aligned crop."""

    crop_HWC: np.ndarray
    """uint8 RGB, square, rotated and scaled to the same landmark positions for every face."""


class MtcnnFaceDetector:
    """Detect and crop the largest face of each photo by MTCNN; several threads may call it at once.

    Args:
        size_px: side of the crops.
        margin: border added on each side of the face, as a fraction of its height.
        min_face_px: smallest detected face. 40 in a photo of 640 px is a third faster than 20 and detects the
            same 285 of 285 faces in the development photos.
        min_confidence: 0.9 keeps 285 of 285 faces in the development photos and detects none in 126 photos
            without a face.
        num_threads: of one call.
    """

    def __init__(
        self,
        *,
        size_px: int = 80,
        margin: float = MARGIN,
        min_face_px: int = 40,
        min_confidence: float = 0.9,
        num_threads: int = 1,
    ) -> None:
        self.size_px = size_px
        self._margin = margin
        self._min_face_px = min_face_px
        self._min_confidence = min_confidence
        self._mtcnn = Mtcnn(num_threads)

    def __call__(
        self, images: Sequence[np.ndarray], sizes_px: Sequence[int] | None = None
    ) -> list[Face | None]:
        """Detect and crop the largest face of each photo; None for a photo without a face.

        Args:
            images: uint8 RGB photos (H, W, 3), upright or turned by 90, 180 or 270 degrees; sizes may differ.
            sizes_px: side of the crop of each photo; default: that of the constructor.

        Raises:
            ValueError: an image has another shape or type.
        """
        return [
            Face(
                box=found.box,
                confidence=found.confidence,
                landmarks=found.landmarks,
                crop_HWC=crop_aligned(image, found, margin=self._margin, size_px=size_px),
            )
            if found
            else None
            for image, found, size_px in zip(
                images, self.detect(images), sizes_px or [self.size_px] * len(images), strict=True
            )
        ]

    def detect(self, images: Sequence[np.ndarray]) -> list[FaceLocation | None]:
        """Detect the largest face of each photo without cropping it; arguments as for a call.

        A photo without a sure face is searched in the other three orientations too, for large faces only:
        messengers remove the EXIF orientation. A face whose landmarks are upright is replaced only by a sure
        one, because MTCNN also finds faces with wrong landmarks in an upright face that is turned.
        """
        for index, image in enumerate(images):
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
                raise ValueError(
                    f"image {index} is {image.dtype} {image.shape}, need uint8 (H, W, 3); convert it to RGB"
                )
        return [self._detect_one(image) for image in images]

    def _detect_one(self, image_HWC: np.ndarray) -> FaceLocation | None:
        location = self._detect_upright(image_HWC)
        to_exceed = _confidence_to_exceed(location)
        min_face_px = int(min(image_HWC.shape[:2]) * MIN_TURNED_FACE_FRACTION)
        for quarter_turns in (1, 3, 2):  # a photo on its side is more frequent than one upside down
            if _confidence(location) >= SURE_CONFIDENCE:
                break
            found = self._detect_upright(np.rot90(image_HWC, quarter_turns), min_face_px=min_face_px)
            if found and found.confidence > to_exceed and is_upright(found.landmarks, found.box):
                location = _turned_back(found, quarter_turns, image_HWC.shape)
                to_exceed = SURE_CONFIDENCE
        return location

    def _detect_upright(self, image_HWC: np.ndarray, *, min_face_px: int = 0) -> FaceLocation | None:
        min_face_px = max(min_face_px, self._min_face_px)
        if min(image_HWC.shape[:2]) < min_face_px:
            return None
        return self._largest(self._mtcnn(image_HWC, min_face_px))

    def ping(self) -> None:
        """Run MTCNN on one blank photo; raise if it fails."""
        self.detect([np.full((2 * self._min_face_px, 2 * self._min_face_px, 3), 127, np.uint8)])

    def _largest(self, found: FoundFaces) -> FaceLocation | None:
        left_N, top_N, right_N, bottom_N = found.box_NK.T
        area_N = np.where(
            found.confidence_N >= self._min_confidence, (right_N - left_N) * (bottom_N - top_N), -1
        )
        if not len(area_N) or area_N.max() < 0:
            return None
        k = int(np.argmax(area_N))
        left, top, right, bottom = found.box_NK[k].tolist()
        return FaceLocation(
            box=(left, top, right, bottom),
            confidence=min(float(found.confidence_N[k]), 1.0),
            landmarks=tuple((x, y) for x, y in found.landmarks_NP2[k].tolist()),
        )


def _confidence(found: FaceLocation | None) -> float:
    return found.confidence if found else 0.0


def _confidence_to_exceed(upright: FaceLocation | None) -> float:
    """Return the confidence above which a face in another orientation replaces the upright one."""
    if upright and is_upright(upright.landmarks, upright.box):
        return SURE_CONFIDENCE
    return max(_confidence(upright), MIN_TURNED_CONFIDENCE)


def _turned_back(found: FaceLocation, quarter_turns: int, shape: tuple[int, ...]) -> FaceLocation:
    """Convert pixels of a photo turned by ``np.rot90`` to pixels of the photo.

    Args:
        quarter_turns: ``k`` of ``np.rot90``.
        shape: of the photo, (H, W, 3).
    """
    height, width = shape[:2]

    def back(x: float, y: float) -> tuple[float, float]:
        return {1: (width - y, x), 2: (width - x, height - y), 3: (y, height - x)}[quarter_turns]

    left, top, right, bottom = found.box
    (x1, y1), (x2, y2) = back(left, top), back(right, bottom)
    return FaceLocation(
        box=(min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)),
        confidence=found.confidence,
        landmarks=tuple(back(x, y) for x, y in found.landmarks),
    )


def crop_aligned(
    image_HWC: np.ndarray,
    found: FaceLocation,
    *,
    margin: float = MARGIN,
    size_px: int = 80,
    centre_y: float = FACE_CENTRE.imag,
) -> np.ndarray:
    """Crop a face, rotated and scaled to the landmark positions of all crops.

    Outside the photo its border pixels are repeated.

    Args:
        image_HWC: uint8 RGB.
        margin: border on each side of the face, as a fraction of ``FACE_SIDE``.
        size_px: side of the crop.
        centre_y: of the crop, in face coordinates.

    Returns:
        crop_HWC: uint8 (size_px, size_px, 3).
    """
    unit, centre = align(found.landmarks, found.box)
    centre += unit * (centre_y - FACE_CENTRE.imag) * 1j
    side = abs(unit) * FACE_SIDE * (1 + 2 * margin)
    cos, sin = unit.real / abs(unit), unit.imag / abs(unit)
    # scaled with smoothing first, because a rotation in Pillow does not smooth
    reach_px = int(np.ceil(size_px * (abs(cos) + abs(sin)) / 2)) + 1
    reach = side * reach_px / size_px
    wide = Image.fromarray(_square_at(image_HWC, centre, 2 * reach, size_px=2 * reach_px))
    x0 = reach_px - size_px / 2 * (cos - sin)
    y0 = reach_px - size_px / 2 * (sin + cos)
    crop = wide.transform(
        (size_px, size_px), Image.Transform.AFFINE, (cos, -sin, x0, sin, cos, y0), Image.Resampling.BICUBIC
    )
    return np.asarray(crop)


def _square_at(image_HWC: np.ndarray, centre: complex, side: float, *, size_px: int) -> np.ndarray:
    x0, y0 = centre.real - side / 2, centre.imag - side / 2
    columns = np.arange(int(np.floor(x0)), int(np.ceil(x0 + side)) + 1)
    rows = np.arange(int(np.floor(y0)), int(np.ceil(y0 + side)) + 1)
    height, width = image_HWC.shape[:2]
    part_HWC = image_HWC[np.clip(rows, 0, height - 1)[:, None], np.clip(columns, 0, width - 1)[None]]
    dx, dy = x0 - columns[0], y0 - rows[0]
    part = Image.fromarray(part_HWC)
    crop = part.resize((size_px, size_px), Image.Resampling.BILINEAR, box=(dx, dy, dx + side, dy + side))
    return np.asarray(crop)
