"""Tensor data in JSON: flat lists of numbers, of strings, or of base64."""

import binascii
import math
from collections.abc import Sequence

import numpy as np

from serve.open_inference.binary_tensors import invalid
from serve.open_inference.messages import BYTES, Data, TensorSpec

BASE64 = "base64"


def read_json_tensor(
    data: object, spec: TensorSpec, shape: Sequence[int], *, content_type: object = BASE64
) -> Data:
    """Decode the data of one input, flat or nested.

    Elements of ``BYTES`` are base64, or ``{"b64": base64}`` as in KServe v1, unless they are text.

    Args:
        data: member ``data`` of the input.
        spec: of the input.
        shape: of the input.
        content_type: parameter of the input, as MLServer's clients send it; only base64 is supported.

    Raises:
        ApiError: ``invalid_request``.
    """
    if not isinstance(data, list):
        raise invalid(f"input {spec.name!r} has neither data nor binary_data_size", "send one of them")
    if spec.datatype == BYTES:
        _check_number(spec, len(data), shape)
        if all(isinstance(one, list) and len(one) == 1 for one in data):
            data = [one[0] for one in data]
        if spec.is_text:
            return _read_texts(data, spec)
        if content_type != BASE64:
            found = str(content_type)[:40]
            raise invalid(f"content_type of input {spec.name!r} is {found!r}", f"send {BASE64}")
        return [_decode_base64(one, spec.name, index) for index, one in enumerate(data)]
    return np.frombuffer(_read_numbers(data, spec, shape), np.uint8).reshape(shape)


def _read_numbers(data: Sequence[object], spec: TensorSpec, shape: Sequence[int]) -> bytes:
    """Return the numbers of a flat list, or of lists that are nested as the shape.

    NumPy never gets the lists: it would allocate gigabytes for one long string among many values.
    """
    if data and isinstance(data[0], list):
        data = _flatten(data, spec, shape)
    _check_number(spec, len(data), shape)
    try:
        if set(map(type, data)) == {int}:
            return bytes(data)  # pyright: ignore[reportArgumentType]
    except ValueError:  # below 0 or above 255
        pass
    raise invalid(f"the data of input {spec.name!r} has values that are no integers from 0 to 255")


def _flatten(data: Sequence[object], spec: TensorSpec, shape: Sequence[int]) -> list[object]:
    level: list[object] = [data]
    for size in shape:
        parts = [one for one in level if isinstance(one, list) and len(one) == size]
        if len(parts) < len(level):
            found = f"the data of input {spec.name!r} is ragged, or not nested as its shape {list(shape)}"
            raise invalid(found, "send a flat list")
        level = [one for part in parts for one in part]
    return level


def _check_number(spec: TensorSpec, found: int, shape: Sequence[int]) -> None:
    if found != math.prod(shape):
        raise invalid(
            f"input {spec.name!r} has {found} elements of data, its shape {list(shape)} has "
            f"{math.prod(shape)}"
        )


def _read_texts(data: Sequence[object], spec: TensorSpec) -> list[bytes]:
    if not all(isinstance(one, str) for one in data):
        raise invalid(f"the data of input {spec.name!r} has values that are no strings")
    return [str(one).encode() for one in data]


def _decode_base64(text: object, name: str, index: int) -> bytes:
    if isinstance(text, dict) and set(text) == {"b64"}:
        text = text["b64"]
    try:
        if isinstance(text, str):
            return binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except (UnicodeEncodeError, binascii.Error):
        pass
    raise invalid(
        f"element {index} of input {name!r} is not base64", 'send base64 of the bytes, or {"b64": base64}'
    )
