"""Detect the largest face of each photo with MTCNN of facenet-pytorch, and crop it aligned.

Axes: H height, W width, C colour (RGB).

Source: Zhang et al. 2016, arXiv:1604.02878; weights from the wheel of facenet-pytorch 2.5.3.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import facenet_pytorch
import numpy as np
import torch
from facenet_pytorch.models.mtcnn import ONet, PNet, RNet
from facenet_pytorch.models.utils.detect_face import detect_face
from PIL import Image
from torch import nn

from models.face.alignment import FACE_CENTRE, FACE_SIDE, MARGIN, Box, align, is_upright

STAGE_THRESHOLDS = [0.6, 0.7, 0.7]
PYRAMID_FACTOR = 0.709
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
    """Detect and crop the largest face of each photo; on a CPU it is thread-safe.

    Args:
        size_px: side of the crops.
        margin: border added on each side of the face, as a fraction of its height.
        min_face_px: smallest detected face. 40 in a photo of 640 px is a third faster than 20 and detects the
            same 285 of 285 faces in the development photos.
        min_confidence: 0.9 keeps 285 of 285 faces in the development photos and detects none in 126 photos
            without a face.
        max_batch_size: photos of one size per MTCNN call; bounds memory.
    """

    def __init__(
        self,
        *,
        device: str = "cpu",
        size_px: int = 80,
        margin: float = MARGIN,
        min_face_px: int = 40,
        min_confidence: float = 0.9,
        max_batch_size: int = 16,
        num_threads: int | None = None,
    ) -> None:
        if num_threads is not None:
            torch.set_num_threads(num_threads)
        self.size_px = size_px
        self._margin = margin
        self._min_face_px = min_face_px
        self._min_confidence = min_confidence
        self._max_batch_size = max_batch_size
        self._device = torch.device(device)
        self._pnet = _load_stage(PNet(pretrained=False), "pnet").to(self._device)
        self._rnet = _load_stage(RNet(pretrained=False), "rnet").to(self._device)
        self._onet = _load_stage(ONet(pretrained=False), "onet").to(self._device)

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
        locations = self._detect_upright(images)
        to_exceed = [_confidence_to_exceed(found) for found in locations]
        for quarter_turns in (1, 3, 2):  # a photo on its side is more frequent than one upside down
            unsure = [i for i, found in enumerate(locations) if _confidence(found) < SURE_CONFIDENCE]
            turned = [np.rot90(images[i], quarter_turns) for i in unsure]
            found_turned = self._detect_upright(turned, min_face_fraction=MIN_TURNED_FACE_FRACTION)
            for i, found in zip(unsure, found_turned, strict=True):
                if found and found.confidence > to_exceed[i] and is_upright(found.landmarks, found.box):
                    locations[i] = _turned_back(found, quarter_turns, images[i].shape)
                    to_exceed[i] = SURE_CONFIDENCE
        return locations

    def _detect_upright(
        self, images: Sequence[np.ndarray], *, min_face_fraction: float = 0.0
    ) -> list[FaceLocation | None]:
        locations: list[FaceLocation | None] = [None] * len(images)
        for indices in self._equal_sized_batches(images):
            batch_BHWC = np.stack([images[i] for i in indices])
            fraction_px = int(min(batch_BHWC.shape[1:3]) * min_face_fraction)
            found_B = self._run_cascade(batch_BHWC, max(self._min_face_px, fraction_px))
            for i, found in zip(indices, found_B, strict=True):
                locations[i] = self._largest(*found)
        return locations

    def ping(self) -> None:
        """Run MTCNN on one blank photo; raise if it fails."""
        self.detect([np.full((2 * self._min_face_px, 2 * self._min_face_px, 3), 127, np.uint8)])

    def _equal_sized_batches(self, images: Sequence[np.ndarray]) -> Iterator[list[int]]:
        """Yield indices of photos of equal size; photos smaller than any face are skipped."""
        indices_of_shape: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
        for index, image in enumerate(images):
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
                raise ValueError(
                    f"image {index} is {image.dtype} {image.shape}, need uint8 (H, W, 3); convert it to RGB"
                )
            if min(image.shape[:2]) >= self._min_face_px:
                indices_of_shape[image.shape].append(index)
        for indices in indices_of_shape.values():
            for start in range(0, len(indices), self._max_batch_size):
                yield indices[start : start + self._max_batch_size]

    @torch.inference_mode()
    def _run_cascade(self, batch_BHWC: np.ndarray, min_face_px: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return boxes (N, 5: left, top, right, bottom, confidence) and landmarks (N, 5, 2) of each photo.

        It calls the function below facenet_pytorch.MTCNN, whose constructor loads pickles without
        ``weights_only=True``. Under numpy 2 the arrays have dtype object, hence the casts.
        """
        boxes, landmarks = detect_face(
            batch_BHWC,
            min_face_px,
            self._pnet,
            self._rnet,
            self._onet,
            STAGE_THRESHOLDS,
            PYRAMID_FACTOR,
            self._device,
        )
        return [
            (np.asarray(box, np.float32).reshape(-1, 5), np.asarray(points, np.float32).reshape(-1, 5, 2))
            for box, points in zip(boxes, landmarks, strict=True)
        ]

    def _largest(self, box_N5: np.ndarray, landmarks_N52: np.ndarray) -> FaceLocation | None:
        is_confident_N = box_N5[:, 4] >= self._min_confidence
        box_N5, landmarks_N52 = box_N5[is_confident_N], landmarks_N52[is_confident_N]
        if not len(box_N5):
            return None
        k = int(np.argmax((box_N5[:, 2] - box_N5[:, 0]) * (box_N5[:, 3] - box_N5[:, 1])))
        left, top, right, bottom, confidence = (float(value) for value in box_N5[k])
        return FaceLocation(
            box=(left, top, right, bottom),
            confidence=min(confidence, 1.0),
            landmarks=tuple((float(x), float(y)) for x, y in landmarks_N52[k]),
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


def _load_stage(net: nn.Module, name: str) -> nn.Module:
    path = Path(facenet_pytorch.__file__).parent / "data" / f"{name}.pt"
    net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return net.eval().requires_grad_(False)
