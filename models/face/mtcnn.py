"""MTCNN: three small networks that find faces and their landmarks; ONNX Runtime on a CPU, without torch.

The first network proposes boxes in scaled copies of the photo. The second and the third one rate and correct
them; the third one also finds the landmarks.

Axes: N box, H row, W column, C colour (RGB), K side of a box (left, top, right, bottom), P landmark.

Source: Zhang et al. 2016, arXiv:1604.02878. The networks are those of facenet-pytorch 2.5.3, converted by
``scripts.convert_mtcnn``; boxes are rounded as there.
"""

from collections.abc import Iterator
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from models.onnx_graph import FLOAT, INT64, GraphBuilder, Value
from models.onnx_session import cpu_session

if TYPE_CHECKING:
    import onnxruntime

NETWORKS = ("proposals", "refinement", "landmarks")
"""Files ``models/face/mtcnn_NAME.onnx``, in the order of their use."""
MIN_PROBABILITY = (0.6, 0.7, 0.7)
"""Of a face, after each network."""
PYRAMID_FACTOR = 0.709
"""Between neighbouring copies of the photo."""
FIELD_PX, STRIDE_PX = 12, 2
"""Window and step of the first network."""
REFINEMENT_PX, LANDMARKS_PX = 24, 48
"""Sides of the inputs of the second and the third network."""
MAX_IOU_IN_COPY, MAX_IOU = 0.5, 0.7
"""Intersection over union above which the less probable one of two boxes is dropped."""
MAX_COVERED = 0.7
"""Share of the smaller one of two faces above which the less probable one is dropped."""
BOXES_PER_CALL = 512
"""Bounds memory."""
_IMAGE = "image_NHWC"


class FoundFaces(NamedTuple):
    """All faces of one photo, in pixels."""

    box_NK: np.ndarray
    """float32."""
    confidence_N: np.ndarray
    """float32, 0 to 1."""
    landmarks_NP2: np.ndarray
    """float32, (x, y) of the left and the right eye, the nose, the left and the right corner of the mouth."""


class Mtcnn:
    """Find the faces of photos; several threads may call it at once.

    Args:
        num_threads: of one call.
    """

    def __init__(self, num_threads: int = 1) -> None:
        self._propose, self._refine, self._locate = (
            cpu_session((files("models.face") / f"mtcnn_{name}.onnx").read_bytes(), num_threads)
            for name in NETWORKS
        )
        self._suppress = cpu_session(_suppression_graph(), 1)

    def __call__(self, image_HWC: np.ndarray, min_face_px: int) -> FoundFaces:
        """Find all faces of a photo.

        Args:
            image_HWC: uint8.
            min_face_px: smallest side of a face.
        """
        photo = AreaResizer(image_HWC)
        box_NK = self._proposals(photo, min_face_px)

        box_NK, probability_N, correction_NK = self._refined(photo, box_NK)
        kept_N = self._without_overlaps(box_NK, probability_N, MAX_IOU)
        box_NK = _square(_corrected(box_NK[kept_N], correction_NK[kept_N]))

        return self._located(photo, box_NK)

    def _proposals(self, photo: "AreaResizer", min_face_px: int) -> np.ndarray:
        """Return square boxes around possible faces in all scaled copies of the photo."""
        boxes_NK: list[np.ndarray] = [np.empty((0, 4), np.float32)]
        corrections_NK, probabilities_N = [boxes_NK[0]], [boxes_NK[0][:, 0]]
        for scale in _scales(photo, min_face_px):
            copy_HWC = photo.whole(int(photo.height * scale + 1), int(photo.width * scale + 1))
            probability_HW, correction_KHW = (
                np.asarray(one)[0] for one in self._propose.run(None, {_IMAGE: copy_HWC[None]})
            )
            row_N, column_N = np.nonzero(probability_HW >= MIN_PROBABILITY[0])
            corner_N2 = STRIDE_PX * np.stack([column_N, row_N], axis=1) + 1
            window_NK = np.concatenate([corner_N2, corner_N2 + FIELD_PX - 1], axis=1)
            box_NK = np.floor(window_NK.astype(np.float32) / np.float32(scale))
            probability_N = probability_HW[row_N, column_N]
            kept_N = self._without_overlaps(box_NK, probability_N, MAX_IOU_IN_COPY)
            boxes_NK.append(box_NK[kept_N])
            corrections_NK.append(correction_KHW[:, row_N, column_N].T[kept_N])
            probabilities_N.append(probability_N[kept_N])
        box_NK, correction_NK = np.concatenate(boxes_NK), np.concatenate(corrections_NK)
        kept_N = self._without_overlaps(box_NK, np.concatenate(probabilities_N), MAX_IOU)
        return _square(_corrected(box_NK[kept_N], correction_NK[kept_N], pixel=0))

    def _refined(self, photo: "AreaResizer", box_NK: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return boxes that the second network takes for faces, with probabilities and corrections."""
        box_NK, outputs = _run(self._refine, photo, box_NK, REFINEMENT_PX)
        probability_N, correction_NK = outputs
        faces_N = probability_N > MIN_PROBABILITY[1]
        return box_NK[faces_N], probability_N[faces_N], correction_NK[faces_N]

    def _located(self, photo: "AreaResizer", box_NK: np.ndarray) -> FoundFaces:
        """Return the faces among boxes by the third network."""
        box_NK, outputs = _run(self._locate, photo, box_NK, LANDMARKS_PX)
        probability_N, correction_NK, landmarks_N2P = outputs
        faces_N = probability_N > MIN_PROBABILITY[2]
        box_NK, probability_N = box_NK[faces_N], probability_N[faces_N]
        corner_N21, size_N21 = box_NK[:, :2, None], (box_NK[:, 2:] - box_NK[:, :2] + 1)[:, :, None]
        landmarks_NP2 = (size_N21 * landmarks_N2P[faces_N] + corner_N21 - 1).transpose(0, 2, 1)
        box_NK = _corrected(box_NK, correction_NK[faces_N])
        kept_N = _not_covered(box_NK, probability_N)
        return FoundFaces(box_NK[kept_N], probability_N[kept_N], landmarks_NP2[kept_N])

    def _without_overlaps(self, box_NK: np.ndarray, score_N: np.ndarray, max_iou: float) -> np.ndarray:
        """Return the indices of the boxes that remain, the most probable first."""
        if not len(box_NK):
            return np.empty(0, np.int64)
        inputs = {
            "boxes": box_NK[None],
            "scores": score_N[None, None],
            "max_boxes": np.array([len(box_NK)], np.int64),
            "max_iou": np.array([max_iou], np.float32),
        }
        return np.asarray(self._suppress.run(None, inputs)[0])[:, 2]


class AreaResizer:
    """Resize parts of one photo by averaging the pixels of each cell, from sums that are computed once."""

    def __init__(self, image_HWC: np.ndarray) -> None:
        self.height, self.width = image_HWC.shape[:2]
        # Sums may overflow; the difference of two is right as long as a cell has less than 2^24 pixels.
        self._sum_HWC = np.zeros((self.height + 1, self.width + 1, 3), np.uint32)
        np.cumsum(image_HWC, axis=0, dtype=np.uint32, out=self._sum_HWC[1:, 1:])
        np.cumsum(self._sum_HWC[1:, 1:], axis=1, out=self._sum_HWC[1:, 1:])

    def whole(self, height: int, width: int) -> np.ndarray:
        """Return the whole photo, float32, (height, width, 3)."""
        return self.parts(np.array([[0, 0, self.width, self.height]]), height, width)[0]

    def parts(self, part_NK: np.ndarray, height: int, width: int) -> np.ndarray:
        """Return parts of the photo, float32, (N, height, width, 3).

        Args:
            part_NK: int, inside the photo and not empty.
            height: of the results.
            width: of the results.
        """
        top_NH1, bottom_NH1 = (one[:, :, None] for one in _cells(part_NK[:, 1], part_NK[:, 3], height))
        left_N1W, right_N1W = (one[:, None, :] for one in _cells(part_NK[:, 0], part_NK[:, 2], width))
        total_NHWC = self._sum_HWC[bottom_NH1, right_N1W] - self._sum_HWC[top_NH1, right_N1W]
        total_NHWC += self._sum_HWC[top_NH1, left_N1W] - self._sum_HWC[bottom_NH1, left_N1W]
        area_NHW = ((bottom_NH1 - top_NH1) * (right_N1W - left_N1W)).astype(np.float32)
        return total_NHWC.astype(np.float32) / area_NHW[..., None]


def _cells(start_N: np.ndarray, end_N: np.ndarray, num: int) -> tuple[np.ndarray, np.ndarray]:
    """Split intervals into ``num`` cells each, which overlap by a pixel; return their starts and ends."""
    length_N1, number = (end_N - start_N)[:, None], np.arange(num)
    return start_N[:, None] + number * length_N1 // num, start_N[:, None] - (-(number + 1) * length_N1 // num)


def _scales(photo: AreaResizer, min_face_px: int) -> Iterator[float]:
    """Yield the scales of the copies in which a face has the size of the first network's window."""
    scale = FIELD_PX / min_face_px
    while min(photo.height, photo.width) * scale >= FIELD_PX:
        yield scale
        scale *= PYRAMID_FACTOR


def _run(
    network: "onnxruntime.InferenceSession", photo: AreaResizer, box_NK: np.ndarray, side_px: int
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Run a network on the visible parts of boxes; return the boxes inside the photo, and all outputs."""
    left_top_N2 = np.maximum(box_NK[:, :2].astype(np.int64), 1) - 1
    right_bottom_N2 = np.minimum(box_NK[:, 2:].astype(np.int64), [photo.width, photo.height])
    in_photo_N = (right_bottom_N2 > left_top_N2).all(axis=1)
    part_NK = np.concatenate([left_top_N2, right_bottom_N2], axis=1)[in_photo_N]
    outputs = [
        network.run(None, {_IMAGE: photo.parts(part_NK[start : start + BOXES_PER_CALL], side_px, side_px)})
        for start in range(0, max(len(part_NK), 1), BOXES_PER_CALL)
    ]
    return box_NK[in_photo_N], [
        np.concatenate(list(map(np.asarray, one))) for one in zip(*outputs, strict=True)
    ]


def _corrected(box_NK: np.ndarray, correction_NK: np.ndarray, pixel: int = 1) -> np.ndarray:
    """Move the sides of boxes by shares of their size; ``pixel`` is added to the size."""
    size_N2 = box_NK[:, 2:] - box_NK[:, :2] + np.float32(pixel)
    return box_NK + correction_NK * np.concatenate([size_N2, size_N2], axis=1)


def _square(box_NK: np.ndarray) -> np.ndarray:
    """Extend the shorter sides of boxes around the same centre."""
    size_N2 = box_NK[:, 2:] - box_NK[:, :2]
    longer_N1 = size_N2.max(axis=1, keepdims=True)
    corner_N2 = box_NK[:, :2] + size_N2 / 2 - longer_N1 / 2
    return np.concatenate([corner_N2, corner_N2 + longer_N1], axis=1)


def _not_covered(box_NK: np.ndarray, probability_N: np.ndarray) -> list[int]:
    """Return the faces of which less than ``MAX_COVERED`` is covered by a more probable one."""
    area_N = np.prod(box_NK[:, 2:] - box_NK[:, :2] + 1, axis=1)
    kept: list[int] = []
    for index in np.argsort(-probability_N, kind="stable").tolist():
        common_N2 = np.minimum(box_NK[kept, 2:], box_NK[index, 2:]) + 1
        common_N2 = common_N2 - np.maximum(box_NK[kept, :2], box_NK[index, :2])
        common_N = np.prod(common_N2.clip(0), axis=1)
        if (common_N <= MAX_COVERED * np.minimum(area_N[kept], area_N[index])).all():
            kept.append(index)
    return kept


def _suppression_graph() -> bytes:
    """Return a graph of the ONNX operator NonMaxSuppression alone."""
    graph = GraphBuilder()
    graph.add("NonMaxSuppression", ["boxes", "scores", "max_boxes", "max_iou"], "selected")
    inputs: dict[str, Value] = {
        "boxes": (FLOAT, [1, "N", 4]),
        "scores": (FLOAT, [1, 1, "N"]),
        "max_boxes": (INT64, [1]),
        "max_iou": (FLOAT, [1]),
    }
    return graph.model("suppression", inputs, {"selected": (INT64, ["M", 3])}).SerializeToString()
