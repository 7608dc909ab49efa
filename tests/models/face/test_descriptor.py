from pathlib import Path

import numpy as np
import pytest

from models.checkpoint import CheckpointError, load_arrays, read_meta
from models.face.alignment import FACE_LANDMARKS_52
from models.face.descriptor import (
    INPUT_PX,
    FaceDescriptor,
    crop_for_descriptor,
    dequantized,
    load_face_descriptor,
)
from models.face.detector import FaceLocation, crop_aligned
from tests.random_checkpoints import write_face_descriptor, write_progress


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_face_descriptor(tmp_path_factory.mktemp("descriptor"))


def faces(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, INPUT_PX, INPUT_PX, 3), np.uint8)


def test_a_batch_gives_the_descriptors_of_single_faces(folder: Path):
    descriptor = load_face_descriptor(folder)

    together = descriptor(faces(3))
    alone = np.concatenate([descriptor(face[None]) for face in faces(3)])

    assert together.shape == (3, 128) and together.dtype == np.float32
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert np.ptp(together, axis=0).max() > 0
    descriptor.ping()


def test_faces_of_another_size_are_rejected(folder: Path):
    with pytest.raises(ValueError, match=r"need uint8 \(B, 150, 150, 3\)"):
        load_face_descriptor(folder)(np.zeros((1, 80, 80, 3), np.uint8))


def test_integer_kernels_have_a_scale_and_an_offset_for_each_output():
    stored = {
        "head.weight": np.array([[0, 255], [10, 20]], np.uint8),
        "head.scale": np.array([0.1, 1.0]),
        "head.offset": np.array([-1.0, 5.0]),
        "stem.bias": np.array([3.0]),
    }

    weights = dequantized(stored)

    assert set(weights) == {"head.weight", "stem.bias"}
    np.testing.assert_allclose(weights["head.weight"], [[-1.0, 24.5], [15.0, 25.0]])


def test_another_checkpoint_is_rejected(tmp_path: Path):
    with pytest.raises(CheckpointError, match="is a progress network, a face_descriptor network is needed"):
        load_face_descriptor(write_progress(tmp_path))


def test_the_crop_is_lower_than_that_of_the_progress_network():
    image_HWC = np.zeros((400, 400, 3), np.uint8)
    image_HWC[200:] = 255
    landmarks = tuple((200 + 60 * float(x), 170 + 60 * float(y)) for x, y in FACE_LANDMARKS_52)
    found = FaceLocation(box=(140.0, 130.0, 260.0, 290.0), confidence=1.0, landmarks=landmarks)

    low, high = crop_for_descriptor(image_HWC, found), crop_aligned(image_HWC, found, size_px=INPUT_PX)

    assert low.shape == (INPUT_PX, INPUT_PX, 3)
    moved_px = int((low > 127).sum()) - int((high > 127).sum())
    assert moved_px / (3 * INPUT_PX) == pytest.approx(0.15 / 2.97 * INPUT_PX, abs=1.5)


@pytest.mark.parametrize("change", ["missing", "unknown", "another shape"])
def test_weights_of_another_network_are_rejected(folder: Path, change: str):
    meta = read_meta(folder)
    weights = load_arrays(folder, meta)
    if change == "missing":
        del weights["blocks.2.conv1.weight"]
    elif change == "unknown":
        weights["blocks.99.conv1.weight"] = weights["blocks.2.conv1.weight"]
    else:
        weights["blocks.2.conv1.weight"] = weights["blocks.2.conv1.weight"][:, :3]

    with pytest.raises(CheckpointError, match="does not fit the face descriptor"):
        FaceDescriptor(meta, weights)
