"""Encode the body of an inference response: JSON, with binary tensor data where it was requested."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
from fastapi import Response

from serve.open_inference.binary_tensors import HEADER_LENGTH, write_tensor
from serve.open_inference.messages import (
    Data,
    InferenceRequest,
    InferenceResult,
    TensorSpec,
)


def write_response(
    request: InferenceRequest, result: InferenceResult, specs: Sequence[TensorSpec]
) -> Response:
    """Encode the requested outputs of a result."""
    datatypes = {one.name: one.datatype for one in specs}
    blobs: list[bytes] = []
    outputs = [
        _output(name, datatypes[name], result.outputs[name], blobs if is_binary else None)
        for name, is_binary in request.outputs.items()
    ]
    content: dict[str, Any] = {
        "model_name": result.entry.name,
        "model_version": result.entry.version,
        **({"id": request.id} if request.id else {}),
        "outputs": outputs,
    }
    header = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    if not blobs:
        return Response(header, media_type="application/json")
    return Response(
        b"".join([header, *blobs]),
        media_type="application/octet-stream",
        headers={HEADER_LENGTH: str(len(header))},
    )


def _output(name: str, datatype: str, data: Data, blobs: list[bytes] | None) -> Mapping[str, Any]:
    """Describe one output; append its data to ``blobs``, or without them put it into the description."""
    shape = list(data.shape) if isinstance(data, np.ndarray) else [len(data)]
    fields = {"name": name, "datatype": datatype, "shape": shape}
    if blobs is None:
        return {**fields, "data": _json_data(data)}
    blobs.append(write_tensor(data))
    return {**fields, "parameters": {"binary_data_size": len(blobs[-1])}}


def _json_data(data: Data) -> Any:
    """Return a flat list for JSON, which has no NaN: orjson writes null."""
    if isinstance(data, np.ndarray):
        return np.ascontiguousarray(data).reshape(-1)
    return [element.decode("utf-8") for element in data]
