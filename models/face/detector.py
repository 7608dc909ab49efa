"""Photo in, face crop out: MTCNN of facenet-pytorch finds the largest face of each photo.

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

from models.face.alignment import FACE_SIDE, MARGIN, Box, align

STAGE_THRESHOLDS = [0.6, 0.7, 0.7]
PYRAMID_FACTOR = 0.709


@dataclass(frozen=True, kw_only=True)
class FaceLocation:
    """Where a face is: ``box`` is left, top, right, bottom in pixels of the photo.

    ``landmarks`` are (x, y) of the eye on the left of the photo, the eye on its right, the nose, and the
    two corners of the mouth, left first.
    """

    box: Box
    confidence: float
    landmarks: tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Face:
    """One face: ``box`` is left, top, right, bottom in pixels of the photo.

    The crop is square uint8 RGB, turned and scaled so that the landmarks of all faces lie in the same places.
    """

    box: Box
    confidence: float
    crop_HWC: np.ndarray


class FaceFinder:
    """Finds the largest face of each photo; on a CPU several threads may call it at once.

    Args:
        size_px: side of the crops.
        margin: border added on each side of the face, as a fraction of its height.
        min_face_px: smaller faces are not searched for. 40 in a photo of 640 px is a third faster than 20 and
            finds the same 285 of 285 faces in our development photos.
        min_confidence: in our development photos, 0.9 keeps 285 of 285 faces and finds none in 126 photos of
            other things.
        max_batch_size: photos of one size that go through MTCNN together; bounds memory.
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

    def __call__(self, images: Sequence[np.ndarray]) -> list[Face | None]:
        """Find and cut out the largest face of each photo; None where there is no face.

        Args:
            images: uint8 RGB upright photos (H, W, 3) of any, also different, sizes.

        Raises:
            ValueError: an image has another shape or type.
        """
        return [
            Face(
                box=found.box,
                confidence=found.confidence,
                crop_HWC=crop_aligned(image, found, margin=self._margin, size_px=self.size_px),
            )
            if found
            else None
            for image, found in zip(images, self.locate(images), strict=True)
        ]

    def locate(self, images: Sequence[np.ndarray]) -> list[FaceLocation | None]:
        """Find the largest face of each photo without cutting it out; same arguments as a call."""
        locations: list[FaceLocation | None] = [None] * len(images)
        for indices in self._equal_sized_batches(images):
            batch_BHWC = np.stack([images[i] for i in indices])
            for i, found in zip(indices, self._detect(batch_BHWC), strict=True):
                locations[i] = self._largest(*found)
        return locations

    def ping(self) -> None:
        """Raise if MTCNN no longer answers."""
        self.locate([np.full((2 * self._min_face_px, 2 * self._min_face_px, 3), 127, np.uint8)])

    def _equal_sized_batches(self, images: Sequence[np.ndarray]) -> Iterator[list[int]]:
        """Indices of photos that can be stacked; photos too small for any face are left out."""
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
    def _detect(self, batch_BHWC: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Boxes (N, 5: left, top, right, bottom, confidence) and landmarks (N, 5, 2) of each photo.

        This calls the cascade below facenet_pytorch.MTCNN, whose constructor loads pickles without
        ``weights_only=True``. The arrays come back with dtype object under numpy 2, hence the casts.
        """
        boxes, landmarks = detect_face(
            batch_BHWC,
            self._min_face_px,
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
        sure = box_N5[:, 4] >= self._min_confidence
        box_N5, landmarks_N52 = box_N5[sure], landmarks_N52[sure]
        if not len(box_N5):
            return None
        k = int(np.argmax((box_N5[:, 2] - box_N5[:, 0]) * (box_N5[:, 3] - box_N5[:, 1])))
        left, top, right, bottom, confidence = (float(value) for value in box_N5[k])
        return FaceLocation(
            box=(left, top, right, bottom),
            confidence=min(confidence, 1.0),
            landmarks=tuple((float(x), float(y)) for x, y in landmarks_N52[k]),
        )


def crop_aligned(
    image_HWC: np.ndarray, found: FaceLocation, *, margin: float = MARGIN, size_px: int = 80
) -> np.ndarray:
    """Cut a face out of a photo, upright, with its landmarks where those of every other face are.

    Where the crop leaves the photo, the photo's border pixels are repeated.

    Args:
        image_HWC: uint8 RGB.
        found: the face.
        margin: border added on each side of ``FACE_SIDE``, as a fraction of it.
        size_px: side of the crop.

    Returns:
        crop_HWC: uint8 (size_px, size_px, 3).
    """
    turn, centre = align(found.landmarks, found.box)
    side = abs(turn) * FACE_SIDE * (1 + 2 * margin)
    cos, sin = turn.real / abs(turn), turn.imag / abs(turn)
    # first scaled with smoothing, which a turn in Pillow does not do, then turned
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
