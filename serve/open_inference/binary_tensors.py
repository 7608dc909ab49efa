"""Binary tensor data extension: JSON header, then the bytes of the tensors one after the other.

A ``BYTES`` element is a length of 4 bytes, little-endian, and as many bytes. Other elements are little-endian
numbers without padding.
"""

import math
import struct
from collections.abc import Sequence

import numpy as np

from serve.open_inference.messages import BYTES, BYTES_LENGTH, NUMPY_TYPES, Data
from serve.runtime.errors import ApiError

HEADER_LENGTH = "Inference-Header-Content-Length"
"""HTTP header with the bytes of the JSON part; 0: the body is the only element of the only input."""
_LENGTH = struct.Struct("<I")


def json_length(body: bytes, header_length: str | None) -> int:
    """Return the bytes of the JSON part of a body.

    Args:
        body: of a request.
        header_length: value of ``HEADER_LENGTH``; None: all of the body is JSON.

    Raises:
        ApiError: ``invalid_request``.
    """
    if header_length is None:
        return len(body)
    if not (header_length.isascii() and header_length.isdigit() and len(header_length) <= 10):
        raise invalid(f"the header {HEADER_LENGTH} is {header_length[:40]!r}", "send a number of bytes")
    length = int(header_length)
    if length > len(body):
        raise invalid(
            f"the header {HEADER_LENGTH} is {length}, the body has {len(body)} bytes",
            "send the length of the JSON part, and the whole body",
        )
    return length


def split_body(body: bytes, header_length: str | None) -> tuple[memoryview, memoryview]:
    """Return the JSON part and the binary part of a body; arguments and errors as ``json_length``."""
    view, length = memoryview(body), json_length(body, header_length)
    return view[:length], view[length:]


def read_tensor(name: str, datatype: str, shape: Sequence[int], data: memoryview) -> Data:
    """Decode the binary data of one tensor.

    Raises:
        ApiError: ``invalid_request``: the data has another size than the shape.
    """
    number = math.prod(shape)
    if datatype == BYTES:
        return _read_bytes(name, number, data)
    expected = number * NUMPY_TYPES[datatype].itemsize
    if len(data) != expected:
        raise invalid(
            f"input {name!r} has {len(data)} bytes of data, its shape {list(shape)} of {datatype} takes "
            f"{expected}"
        )
    return np.frombuffer(data, NUMPY_TYPES[datatype]).reshape(shape)


def write_tensor(data: Data) -> bytes:
    """Encode one tensor as binary data."""
    if isinstance(data, np.ndarray):
        return data.tobytes()
    return b"".join(part for element in data for part in (_LENGTH.pack(len(element)), element))


def invalid(found: str, advice: str = "correct the request") -> ApiError:
    """Return the error of a request that does not follow the protocol."""
    return ApiError("invalid_request", f"{found}; {advice}")


def _read_bytes(name: str, number: int, data: memoryview) -> list[bytes]:
    elements: list[bytes] = []
    start = 0
    while start < len(data) and len(elements) < number:
        begin = start + BYTES_LENGTH
        if begin > len(data):
            raise _truncated(name, len(elements), "its length")
        (length,) = _LENGTH.unpack_from(data, start)
        start = begin + length
        if start > len(data):
            raise _truncated(name, len(elements), f"{length} bytes")
        elements.append(bytes(data[begin:start]))
    if len(elements) != number or start != len(data):
        raise invalid(
            f"the binary data of input {name!r} has {len(elements)} elements and {len(data) - start} bytes "
            f"after them, its shape has {number}"
        )
    return elements


def _truncated(name: str, index: int, need: str) -> ApiError:
    return invalid(
        f"the binary data of input {name!r} ends within element {index}, which needs {need}",
        "each element is a length of 4 bytes, little-endian, and as many bytes; send all of them",
    )
