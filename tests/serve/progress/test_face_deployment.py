import asyncio

import numpy as np

from models.images import decode_bounded
from samples.face import draw_face
from serve.config import FaceConfig
from serve.progress.face_deployment import FaceDetector
from tests.serve.fakes import jpeg_of, plain


def test_face_finds_a_drawn_face_at_the_size_of_the_progress_network():
    detector = plain(FaceDetector, FaceConfig(num_threads=1), 80)
    face = decode_bounded(jpeg_of(draw_face(num_lesions=3, redness=0.3, seed=1))).image_HWC

    found, nothing = detector._find_batch([face, np.zeros((100, 60, 3), np.uint8)])

    assert found is not None and found.crop_HWC.shape == (80, 80, 3)
    assert nothing is None


async def test_face_finds_many_at_once_on_two_cores_as_it_finds_them_one_by_one():
    detector = plain(FaceDetector, FaceConfig(num_threads=2), 80)
    faces = [
        decode_bounded(jpeg_of(draw_face(num_lesions=3, redness=0.3, seed=seed))).image_HWC
        for seed in range(4)
    ]

    together = await asyncio.gather(*(detector.find(face) for face in faces))

    for one, face in zip(together, faces, strict=True):
        (alone,) = detector._find_batch([face])
        assert np.allclose(one.box, alone.box, atol=0.5)
