import base64
import json
import tracemalloc
from typing import Any

import numpy as np
import pytest

from serve.open_inference import request_body
from serve.open_inference.messages import InferenceRequest
from serve.open_inference.request_body import read_request
from serve.runtime.errors import ApiError
from tests.serve.open_inference_requests import binary_body, bytes_tensor, tensor
from tests.serve.open_inference_specs import INPUTS, OUTPUTS, PARAMETERS

B64 = base64.b64encode(b"photo").decode()
PHOTO = {"name": "photo", "datatype": "BYTES", "shape": [1], "data": [B64]}
IMAGE = {"name": "image", "datatype": "UINT8", "shape": [1, 1, 2, 3], "data": [1, 2, 3, 4, 5, 6]}


def read(content: Any, data: bytes | None = None) -> InferenceRequest:
    body, length = json.dumps(content).encode(), None
    if data is not None:
        body, headers = binary_body(content, data)
        length = headers["inference-header-content-length"]
    return read_request(body, length, inputs=INPUTS, outputs=OUTPUTS, parameters=PARAMETERS)


def test_a_json_request_is_decoded():
    request = read({"id": "a1", "inputs": [PHOTO], "parameters": {"explain": True}, "model_name": "ignored"})

    assert request == InferenceRequest(
        id="a1",
        parameters={"explain": True},
        inputs={"photo": [b"photo"]},
        outputs={"verdict": False, "score": False},
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": [1, 1]},
        {"shape": [1, 1], "data": [[B64]]},
        {"data": [{"b64": B64}]},
        {"parameters": {"content_type": "base64"}},
    ],
)
def test_forms_of_base64(changes: dict[str, Any]):
    assert read({"inputs": [PHOTO | changes]}).inputs == {"photo": [b"photo"]}


@pytest.mark.parametrize("data", [[1, 2, 3, 4, 5, 6], [[[[1, 2, 3], [4, 5, 6]]]]])
def test_pixels_in_json_are_flat_or_nested(data: list[Any]):
    image_NHWC = read({"inputs": [IMAGE | {"data": data}]}).inputs["image"]

    assert isinstance(image_NHWC, np.ndarray)
    assert (image_NHWC.dtype, image_NHWC.tolist()) == (np.uint8, [[[[1, 2, 3], [4, 5, 6]]]])


def test_one_long_string_in_the_pixels_takes_little_memory():
    data = ["x" * 10_000, *[""] * 1001]
    tracemalloc.start()
    try:
        with pytest.raises(ApiError, match="no integers from 0 to 255"):
            read({"inputs": [IMAGE | {"shape": [1, 1, 334, 3], "data": data}]})
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak_bytes < 1_000_000, "NumPy pads all of them to the longest: 40 MB"


def test_text_in_json_is_not_base64():
    times = {"name": "taken_at", "datatype": "BYTES", "shape": [2], "data": ["2026-01-02", "ü"]}

    assert read({"inputs": [times]}).inputs == {"taken_at": [b"2026-01-02", "ü".encode()]}


def test_binary_data_follows_in_the_order_of_the_inputs():
    photo = bytes_tensor(b"p", b"")
    content = {
        "inputs": [tensor("image", "UINT8", [1, 1, 1, 3], 3), PHOTO, tensor("taken_at", "BYTES", [2], 9)]
    }

    request = read(content, b"\1\2\3" + photo)

    assert list(request.inputs) == ["image", "photo", "taken_at"]
    assert request.inputs["taken_at"] == [b"p", b""]


def test_outputs_are_binary_by_their_parameter_or_that_of_the_request():
    outputs = [{"name": "answer", "parameters": {"binary_data": False}}, {"name": "score"}]
    binary = {"binary_data_output": True}

    assert read({"inputs": [PHOTO], "parameters": binary}).outputs == {"verdict": True, "score": True}
    listed = read({"inputs": [PHOTO], "parameters": binary, "outputs": outputs})
    assert listed.outputs == {"answer": False, "score": True}


def test_a_header_length_of_0_means_one_raw_element():
    request = read_request(b"\xff\xd8", "0", inputs=INPUTS, outputs=OUTPUTS, parameters=PARAMETERS)

    assert request.inputs == {"photo": [b"\xff\xd8"]}
    assert request.outputs == {"verdict": False, "score": False}


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ([], "the request is no JSON object"),
        ({}, "'inputs' is no list of tensors"),
        ({"inputs": []}, "'inputs' is no list of tensors"),
        ({"inputs": {"name": "photo"}}, "'inputs' is no list of tensors"),
        ({"inputs": [1]}, "an entry of 'inputs' is no JSON object"),
        ({"inputs": [PHOTO, PHOTO]}, "input 'photo' is listed twice"),
        ({"inputs": [PHOTO | {"name": "foto"}]}, "input 'foto' is unknown; the model has photo, image"),
        ({"inputs": [PHOTO | {"name": ["photo"]}]}, "is unknown"),
        ({"inputs": [PHOTO | {"datatype": "FP32"}]}, "has the datatype 'FP32'; send BYTES"),
        ({"inputs": [PHOTO | {"shape": 1}]}, "is no list of sizes"),
        ({"inputs": [PHOTO | {"shape": [True]}]}, "is no list of sizes"),
        ({"inputs": [PHOTO | {"shape": [-1]}]}, "is no list of sizes"),
        ({"inputs": [PHOTO | {"shape": [0]}]}, "is no list of sizes"),
        ({"inputs": [PHOTO | {"shape": [10_001]}]}, "send at most 10000 at once"),
        ({"inputs": [PHOTO | {"shape": [1, 2]}]}, r"has the shape \[1, 2\]; send \[-1\]"),
        ({"inputs": [PHOTO | {"shape": [2]}]}, r"has 1 elements of data, its shape \[2\] has 2"),
        ({"inputs": [PHOTO | {"data": B64}]}, "neither data nor binary_data_size"),
        ({"inputs": [PHOTO | {"data": ["ä"]}]}, "element 0 of input 'photo' is not base64"),
        ({"inputs": [PHOTO | {"data": ["abc"]}]}, "element 0 of input 'photo' is not base64"),
        ({"inputs": [PHOTO | {"data": [5]}]}, "element 0 of input 'photo' is not base64"),
        (
            {"inputs": [PHOTO | {"parameters": {"content_type": "str"}}]},
            "content_type of .* is 'str'",
        ),
        ({"inputs": [PHOTO | {"parameters": 1}]}, "'parameters' of input 'photo' is no JSON object"),
        ({"inputs": [IMAGE | {"shape": [1, 2, 3]}]}, r"send \[-1, -1, -1, 3\], where -1 is any size"),
        ({"inputs": [IMAGE | {"shape": [1, 1, 1, 4]}]}, r"has the shape \[1, 1, 1, 4\]"),
        ({"inputs": [IMAGE | {"data": [1, 2, 3]}]}, "has 3 elements of data"),
        ({"inputs": [IMAGE | {"data": [[1], [2, 3]]}]}, "ragged"),
        ({"inputs": [IMAGE | {"data": [0.5] * 6}]}, "no integers from 0 to 255"),
        ({"inputs": [IMAGE | {"data": [256] * 6}]}, "no integers from 0 to 255"),
        ({"inputs": [IMAGE | {"data": [-1] * 6}]}, "no integers from 0 to 255"),
        ({"inputs": [IMAGE | {"data": ["1"] * 6}]}, "no integers from 0 to 255"),
        ({"inputs": [IMAGE | {"data": [True] * 6}]}, "no integers from 0 to 255"),
        (
            {"inputs": [IMAGE | {"data": [[1, 2, 3], [4, 5, 6]]}]},
            r"its shape \[1, 1, 2, 3\]; send a flat list",
        ),
        ({"inputs": [IMAGE | {"data": [[[[1, 2, 3], 4]]]}]}, "not nested as its shape"),
        ({"inputs": [IMAGE | {"data": [[[[1, 2, 3], [4, 5, [6]]]]]}]}, "no integers from 0 to 255"),
        ({"inputs": [IMAGE | {"data": [1, 2, 3, 4, 5, [6]]}]}, "no integers from 0 to 255"),
        ({"inputs": [IMAGE | {"data": [10**15] * 6}]}, "no integers from 0 to 255"),
        ({"inputs": [IMAGE | {"data": []}]}, "has 0 elements of data"),
        ({"id": 7, "inputs": [PHOTO]}, "the id is no string"),
        ({"id": "x" * 1001, "inputs": [PHOTO]}, "at most 1000 characters"),
        (
            {"inputs": [PHOTO], "parameters": {"priority": 1}},
            "'priority' is unknown; known are explain",
        ),
        ({"inputs": [PHOTO], "parameters": {"binary_data_output": 1}}, "send true or false"),
        (
            {"inputs": [PHOTO], "outputs": [{"name": "label"}]},
            "output 'label' is unknown; .* has verdict",
        ),
        ({"inputs": [PHOTO], "outputs": {"name": "score"}}, "'outputs' is no list"),
        (
            {"inputs": [PHOTO], "outputs": [{"name": "score", "parameters": {"classification": 3}}]},
            "classification, which is not supported",
        ),
        (
            {"inputs": [PHOTO], "outputs": [{"name": "score", "parameters": {"binary_data": "no"}}]},
            "parameter binary_data of output 'score' is 'no'",
        ),
    ],
)
def test_a_wrong_request_is_rejected(content: Any, match: str):
    with pytest.raises(ApiError, match=match) as raised:
        read(content)

    assert raised.value.code == "invalid_request"


@pytest.mark.parametrize(
    ("size", "data", "match"),
    [
        (
            9,
            bytes_tensor(b"photo") + b"x",
            "10 bytes of binary data arrived, .* adds up to 9",
        ),
        (9, bytes_tensor(b"photo")[:-1], "binary_data_size of input 'photo' is 9, 8 bytes"),
        (8, bytes_tensor(b"photo"), "ends within element 0"),
        (-1, b"", "is '-1'; send a number of bytes"),
        ("9", bytes_tensor(b"photo"), "is '9'; send a number of bytes"),
        (True, b"x", "is 'True'; send a number of bytes"),
    ],
)
def test_sizes_must_be_those_of_the_binary_data(size: Any, data: bytes, match: str):
    with pytest.raises(ApiError, match=match):
        read({"inputs": [tensor("photo", "BYTES", [1], size)]}, data)


def test_large_json_is_rejected_before_it_is_parsed(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(
        ApiError, match="at most 50 MB are allowed; send the tensors as binary data"
    ) as raised:
        read_request(b" " * 50_000_001, None, inputs=INPUTS, outputs=OUTPUTS, parameters=PARAMETERS)
    assert raised.value.code == "too_large"

    monkeypatch.setattr(request_body, "MAX_JSON_VALUES", 100)
    with pytest.raises(ApiError, match="more than 100 values; send pixels as binary data"):
        read({"inputs": [IMAGE | {"data": [0] * 150}]})
