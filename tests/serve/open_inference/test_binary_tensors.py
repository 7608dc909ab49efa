import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.open_inference.binary_tensors import read_tensor, split_body, write_tensor
from serve.open_inference.messages import InferenceRequest
from serve.open_inference.request_body import read_request
from serve.runtime.errors import ApiError
from tests.serve.open_inference_requests import binary_body, bytes_tensor, tensor
from tests.serve.open_inference_specs import INPUTS, OUTPUTS, PARAMETERS

photos_lists = st.lists(st.binary(max_size=50), min_size=1, max_size=5)


def read(body: bytes, header_length: str | None) -> InferenceRequest:
    return read_request(body, header_length, inputs=INPUTS, outputs=OUTPUTS, parameters=PARAMETERS)


@given(photos_lists)
def test_bytes_are_read_as_they_were_written(photos: list[bytes]):
    data = write_tensor(photos)

    assert data == bytes_tensor(*photos)
    assert read_tensor("photo", "BYTES", [len(photos)], memoryview(data)) == photos


@given(photos_lists, st.data())
def test_truncated_bytes_are_rejected(photos: list[bytes], draw: st.DataObject):
    data = bytes_tensor(*photos)
    cut = draw.draw(st.integers(0, len(data) - 1))

    with pytest.raises(ApiError, match="input 'photo'"):
        read_tensor("photo", "BYTES", [len(photos)], memoryview(data)[:cut])


@given(photos_lists, st.integers(0, 10))
def test_bytes_of_another_number_are_rejected(photos: list[bytes], number: int):
    data = memoryview(bytes_tensor(*photos))

    if number == len(photos):
        assert len(read_tensor("photo", "BYTES", [number], data)) == number
    else:
        with pytest.raises(ApiError, match=f"its shape has {number}"):
            read_tensor("photo", "BYTES", [number], data)


@given(st.lists(st.integers(1, 4), min_size=3, max_size=3), st.integers(-5, 5))
def test_numbers_need_as_many_bytes_as_their_shape(sizes: list[int], excess: int):
    shape = (*sizes, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    data = (pixels.tobytes() + bytes(5))[: pixels.size + excess]

    if excess:
        with pytest.raises(ApiError, match=f"takes {pixels.size}"):
            read_tensor("image", "UINT8", shape, memoryview(data))
    else:
        np.testing.assert_array_equal(read_tensor("image", "UINT8", shape, memoryview(data)), pixels)


@pytest.mark.parametrize("length", ["-1", "1.5", "", "ten", "٣", "9" * 11, " 3"])
def test_a_header_length_that_is_no_number_is_rejected(length: str):
    with pytest.raises(ApiError, match="Inference-Header-Content-Length is"):
        split_body(b"{}   ", length)


def test_a_header_length_above_the_body_is_rejected():
    with pytest.raises(ApiError, match="is 6, the body has 5 bytes"):
        split_body(b"{}   ", "6")


@given(st.binary(max_size=200), st.one_of(st.none(), st.integers(0, 250).map(str), st.text(max_size=5)))
def test_any_body_is_decoded_or_rejected(body: bytes, header_length: str | None):
    try:
        read(body, header_length)
    except ApiError as error:
        assert error.code == "invalid_request"


@given(st.data())
def test_a_damaged_request_is_decoded_or_rejected(draw: st.DataObject):
    """Of a valid request one part is replaced: a member, the header length or the data."""
    data = bytes_tensor(b"one", b"three")
    content: dict[str, Any] = {
        "id": "7",
        "inputs": [tensor("photo", "BYTES", [2], len(data))],
        "outputs": [{"name": "verdict", "parameters": {"binary_data": True}}],
        "parameters": {"explain": True},
    }
    places: list[tuple[Any, Any]] = [
        *((content, key) for key in content),
        *((content["inputs"][0], key) for key in content["inputs"][0]),
        (content["inputs"][0]["parameters"], "binary_data_size"),
        (content["inputs"][0]["shape"], 0),
        (content["outputs"][0], "name"),
        (content["outputs"][0], "parameters"),
    ]
    place, key = draw.draw(st.sampled_from(places))
    place[key] = draw.draw(_json)
    body, headers = binary_body(content, draw.draw(st.sampled_from([data, data[:-1], data + b"x", b""])))

    try:
        request = read(body, headers["inference-header-content-length"])
    except ApiError as error:
        assert error.code == "invalid_request"
    else:
        assert list(request.inputs["photo"]) == [b"one", b"three"]


_json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


def test_a_length_near_the_largest_is_rejected():
    data = struct.pack("<I", 2**32 - 1) + b"abc"

    with pytest.raises(ApiError, match="element 0, which needs 4294967295 bytes"):
        read_tensor("photo", "BYTES", [1], memoryview(data))


def test_the_json_part_may_not_be_text_of_another_encoding():
    with pytest.raises(ApiError, match="not JSON"):
        read(json.dumps({}).encode("utf-16"), None)
