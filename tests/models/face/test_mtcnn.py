"""MTCNN in ONNX Runtime, compared with the one of facenet-pytorch."""

import numpy as np
import pytest
import torch
from facenet_pytorch.models.utils.detect_face import detect_face
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from models.face.mtcnn import MIN_PROBABILITY, PYRAMID_FACTOR, AreaResizer, FoundFaces, Mtcnn
from samples.face import draw_face
from scripts.convert_mtcnn import load_networks

MIN_FACE_PX = 40


@pytest.fixture(scope="module")
def mtcnn() -> Mtcnn:
    return Mtcnn()


@torch.inference_mode()
def reference(image_HWC: np.ndarray) -> FoundFaces:
    """Return the faces that facenet-pytorch finds, by probability."""
    pnet, rnet, onet = (net for net, _ in load_networks())
    boxes, landmarks = detect_face(
        image_HWC, MIN_FACE_PX, pnet, rnet, onet, list(MIN_PROBABILITY), PYRAMID_FACTOR, torch.device("cpu")
    )
    box_NX = np.asarray(boxes[0], np.float32).reshape(-1, 5)
    return by_probability(
        FoundFaces(box_NX[:, :4], box_NX[:, 4], np.asarray(landmarks[0], np.float32).reshape(-1, 5, 2))
    )


def by_probability(found: FoundFaces) -> FoundFaces:
    order = np.argsort(-found.confidence_N)
    return FoundFaces(*(one[order] for one in found))


def crowd(seed: int) -> np.ndarray:
    """Draw five faces of different sizes on noise; some overlap, some are cut off."""
    rng = np.random.default_rng(seed)
    photo_HWC = rng.integers(0, 256, (360, 480, 3), np.uint8)
    for number in range(5):
        side = int(rng.integers(60, 240))
        face_HWC = np.asarray(draw_face(num_lesions=3, redness=0.3, seed=seed + number, size_px=side))
        top, left = (int(rng.integers(-side // 4, size - side // 2)) for size in photo_HWC.shape[:2])
        part = face_HWC[max(0, -top) :, max(0, -left) :]
        target = photo_HWC[max(0, top) :, max(0, left) :][: len(part), : part.shape[1]]
        target[:] = part[: len(target), : target.shape[1]]
    return photo_HWC


@pytest.mark.parametrize("seed", range(4))
def test_it_finds_the_faces_of_the_reference(mtcnn: Mtcnn, seed: int):
    photo_HWC = crowd(seed)

    found, expected = by_probability(mtcnn(photo_HWC, MIN_FACE_PX)), reference(photo_HWC)

    assert len(expected.box_NK) > 0
    np.testing.assert_allclose(found.confidence_N, expected.confidence_N, atol=1e-4)
    np.testing.assert_allclose(found.box_NK, expected.box_NK, atol=0.01)
    np.testing.assert_allclose(found.landmarks_NP2, expected.landmarks_NP2, atol=0.01)


def test_no_candidate_and_tiny_photos_give_no_faces(mtcnn: Mtcnn):
    for shape in ((1, 1, 3), (39, 500, 3), (60, 60, 3)):
        found = mtcnn(np.zeros(shape, np.uint8), MIN_FACE_PX)

        assert [one.shape for one in found] == [(0, 4), (0,), (0, 5, 2)]


@settings(max_examples=50)
@given(
    left=st.integers(0, 30),
    top=st.integers(0, 20),
    width=st.integers(1, 37),
    height=st.integers(1, 29),
    to_width=st.integers(1, 50),
    to_height=st.integers(1, 50),
)
def test_parts_are_resized_by_area(
    left: int, top: int, width: int, height: int, to_width: int, to_height: int
):
    image_HWC = np.random.default_rng(0).integers(0, 256, (50, 68, 3), np.uint8)
    part_NK = np.array([[left, top, left + width, top + height], [0, 0, 68, 50]])

    found_NHWC = AreaResizer(image_HWC).parts(part_NK, to_height, to_width)

    for found_HWC, (x0, y0, x1, y1) in zip(found_NHWC, part_NK, strict=True):
        part = torch.from_numpy(image_HWC[y0:y1, x0:x1]).permute(2, 0, 1)[None].float()
        expected = interpolate(part, (to_height, to_width), mode="area")[0].permute(1, 2, 0)
        np.testing.assert_allclose(found_HWC, expected, atol=1e-3)


def test_sums_above_32_bits_are_right():
    image_HWC = np.full((4200, 4200, 3), 255, np.uint8)  # their sum is above 2^32

    assert (AreaResizer(image_HWC).whole(3, 3) == 255).all()
