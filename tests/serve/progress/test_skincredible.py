import json

import numpy as np
import pytest

from serve.progress.skincredible import read_frames
from serve.runtime.errors import ApiError

PIXEL = [1, 2, 255]
FRAME = [[PIXEL, PIXEL]]


def body_of(frames: object) -> bytes:
    return json.dumps({"img": frames}).encode()


def test_frames_become_uint8_of_their_own_sizes():
    frames = read_frames(body_of([FRAME, [[[0.4, 254.6, 3.0]]] * 5]), max_frames=30)

    assert [(frame.shape, frame.dtype) for frame in frames] == [
        ((1, 2, 3), np.uint8),
        ((5, 1, 3), np.uint8),
    ]
    assert frames[0].tolist() == FRAME
    assert frames[1][0, 0].tolist() == [0, 255, 3]


@pytest.mark.parametrize(
    ("body", "match"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b'{"img": [NaN]}', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "one key 'img'"),
        (b'{"img": [], "more": 1}', "one key 'img'"),
        (b'{"img": "abc"}', "not a list"),
        (body_of([FRAME, [[PIXEL], [PIXEL, PIXEL]]]), "frame 1 is ragged"),
        (body_of([FRAME, [[[1, 2]]]]), r"frame 1 has the shape \(1, 1, 2\)"),
        (body_of([FRAME, PIXEL]), r"frame 1 has the shape \(3,\)"),
        (body_of([FRAME, []]), "frame 1 has the shape"),
        (body_of([FRAME, 7]), "frame 1 has the shape"),
        (body_of([FRAME, None]), "frame 1 holds values that are no numbers"),
        (body_of([FRAME, [[["1", "2", "3"]]]]), "frame 1 holds values that are no numbers"),
        (body_of([FRAME, [[[True, False, True]]]]), "frame 1 holds values that are no numbers"),
        (body_of([FRAME, [[[1, 2, 256]]]]), "frame 1 has values from 1 to 256"),
        (body_of([FRAME, [[[-1, 2, 3]]]]), "frame 1 has values from -1 to 3"),
        (body_of([FRAME, [[[1, 2, 10**30]]]]), "frame 1"),
        (body_of([[[[0.1, 0.5, 1.0]]], [[[0.0, 0.2, 0.3]]]]), "multiply them by 255"),
    ],
)
def test_invalid_bodies_are_rejected(body: bytes, match: str):
    with pytest.raises(ApiError, match=match) as error:
        read_frames(body, max_frames=30)

    assert error.value.code == "invalid_request"


@pytest.mark.parametrize(
    ("number", "code"), [(0, "too_few_photos"), (1, "too_few_photos"), (31, "too_many_photos")]
)
def test_too_few_and_too_many_frames_are_rejected(number: int, code: str):
    with pytest.raises(ApiError) as error:
        read_frames(body_of([FRAME] * number), max_frames=30)

    assert error.value.code == code
