import numpy as np

from models.images import decode_bounded
from serve.config import FaceConfig
from serve.face import FaceDetector
from tests.serve.fakes import jpeg_of, plain
from ui.examples import draw_face


def test_face_finds_a_drawn_face_at_the_size_of_the_progress_network():
    detector = plain(FaceDetector, FaceConfig(num_threads=1), 80)
    face = decode_bounded(jpeg_of(draw_face(spots=3, redness=0.3, seed=1))).image_HWC

    found, nothing = detector._find_batch([face, np.zeros((100, 60, 3), np.uint8)])

    assert found is not None and found.crop_HWC.shape == (80, 80, 3)
    assert nothing is None
