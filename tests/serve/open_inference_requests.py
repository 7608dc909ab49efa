"""Requests of the Open Inference Protocol, encoded without the code under test."""

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

HEADER_LENGTH = "inference-header-content-length"


def bytes_tensor(*elements: bytes) -> bytes:
    """Return the binary data of a BYTES tensor."""
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def tensor(name: str, datatype: str, shape: Sequence[int], num_bytes: int) -> dict[str, Any]:
    """Return the description of an input with binary data."""
    parameters = {"binary_data_size": num_bytes}
    return {"name": name, "datatype": datatype, "shape": list(shape), "parameters": parameters}


def binary_body(content: Mapping[str, Any], data: bytes) -> tuple[bytes, dict[str, str]]:
    """Return the body and the headers of a request with binary data."""
    header = json.dumps(content).encode()
    return header + data, {HEADER_LENGTH: str(len(header)), "content-type": "application/octet-stream"}


def photos_body(
    *photos: bytes,
    outputs: Sequence[str] = (),
    parameters: Mapping[str, Any] = {},
    binary_output: bool = True,
) -> tuple[bytes, dict[str, str]]:
    """Return the body and the headers of a request with photos, as tritonclient sends them."""
    data = bytes_tensor(*photos)
    content: dict[str, Any] = {"inputs": [tensor("photo", "BYTES", [len(photos)], len(data))]}
    content["parameters"] = {**parameters, "binary_data_output": binary_output}
    if outputs:
        content["outputs"] = [{"name": name} for name in outputs]
    return binary_body(content, data)


def read_response(body: bytes, header_length: str | None) -> dict[str, Any]:
    """Return the outputs of a response by name: lists of bytes or text, or raw bytes of numbers."""
    length = len(body) if header_length is None else int(header_length)
    content, data = json.loads(body[:length]), body[length:]
    found: dict[str, Any] = {}
    for output in content["outputs"]:
        if "data" in output:
            found[output["name"]] = output["data"]
            continue
        size = output["parameters"]["binary_data_size"]
        part, data = data[:size], data[size:]
        found[output["name"]] = _elements(part) if output["datatype"] == "BYTES" else part
    assert data == b""
    return found


def _elements(data: bytes) -> list[bytes]:
    elements: list[bytes] = []
    while data:
        (length,) = struct.unpack_from("<I", data)
        elements.append(data[4 : 4 + length])
        assert len(elements[-1]) == length
        data = data[4 + length :]
    return elements
