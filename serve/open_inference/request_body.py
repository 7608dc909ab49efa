"""Decode the body of an inference request: JSON, with or without binary tensor data."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from serve.open_inference.binary_tensors import HEADER_LENGTH, invalid, read_tensor, split_body
from serve.open_inference.json_tensors import BASE64, read_json_tensor
from serve.open_inference.messages import BYTES, Data, InferenceRequest, TensorSpec
from serve.runtime.errors import ApiError

MAX_JSON_BYTES = 50_000_000
"""JSON part of a request; tensors of more are sent as binary data."""
MAX_JSON_VALUES = 4_000_000
"""Commas and brackets in the JSON part; Python objects of more would take gigabytes."""
MAX_ID_CHARS = 1000
MAX_ITEMS = 10_000
"""First dimension of an input, against millions of empty elements; models accept fewer."""
_BINARY_OUTPUT = "binary_data_output"
_Json = Mapping[str, Any]


def read_request(
    body: bytes,
    header_length: str | None,
    *,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    parameters: Sequence[str],
) -> InferenceRequest:
    """Decode and check a request.

    Args:
        body: after its ``Content-Encoding``.
        header_length: value of ``HEADER_LENGTH``.
        inputs: of the model.
        outputs: of the model.
        parameters: names that the model knows.

    Raises:
        ApiError: ``invalid_request`` or ``too_large``.
    """
    text, binary = split_body(body, header_length)
    if header_length is not None and not text:
        return _raw_request(body, inputs, outputs)
    content = _read_json(text)
    sent = _parameters(content, "the request")
    default_binary = _flag(sent, _BINARY_OUTPUT, "the request")
    known = {name: value for name, value in sent.items() if name != _BINARY_OUTPUT}
    for name in known.keys() - set(parameters):
        known_names = (
            f"known are {', '.join(parameters)}" if parameters else "the model has none; leave it out"
        )
        raise invalid(f"parameter {name[:40]!r} is unknown", known_names)
    return InferenceRequest(
        id=_id(content),
        parameters=known,
        inputs=_read_inputs(content, binary, {one.name: one for one in inputs}),
        outputs=_read_outputs(content, outputs, default_binary),
    )


def _raw_request(
    body: bytes, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> InferenceRequest:
    """Return the request of a body that is one element, as Triton's raw binary request."""
    spec = next(one for one in inputs if one.datatype == BYTES)
    return InferenceRequest(
        id="",
        parameters={},
        inputs={spec.name: [body]},
        outputs={one.name: False for one in outputs if one.is_default},
    )


def _read_json(text: memoryview) -> _Json:
    if len(text) > MAX_JSON_BYTES:
        raise ApiError(
            "too_large",
            f"the JSON part has {len(text) / 1e6:.1f} MB, at most {MAX_JSON_BYTES / 1e6:g} MB are allowed; "
            f"send the tensors as binary data ({HEADER_LENGTH})",
        )
    data = bytes(text)
    if len(data) > MAX_JSON_VALUES and sum(map(data.count, (b",", b"[", b"{"))) > MAX_JSON_VALUES:
        raise invalid(f"the JSON part has more than {MAX_JSON_VALUES} values", "send pixels as binary data")
    try:
        content = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise invalid(
            f"the JSON part is not JSON ({error})",
            f"send an inference request; with binary data its length in the header {HEADER_LENGTH}",
        ) from error
    return _object(content, "the request")


def _id(content: _Json) -> str:
    value = content.get("id", "")
    if not isinstance(value, str) or len(value) > MAX_ID_CHARS:
        raise invalid(f"the id is no string of at most {MAX_ID_CHARS} characters")
    return value


def _read_inputs(content: _Json, binary: memoryview, specs: Mapping[str, TensorSpec]) -> dict[str, Data]:
    found: dict[str, Data] = {}
    start = 0
    for tensor in _objects(content, "inputs"):
        spec = _spec(tensor, "input", specs)
        if spec.name in found:
            raise invalid(f"input {spec.name!r} is listed twice")
        shape = _shape(tensor, spec)
        parameters = _parameters(tensor, f"input {spec.name!r}")
        size = parameters.get("binary_data_size")
        if size is None:
            encoding = parameters.get("content_type", BASE64)
            data = read_json_tensor(tensor.get("data"), spec, shape, content_type=encoding)
        else:
            end = start + _size(size, spec, len(binary) - start)
            data = read_tensor(spec.name, spec.datatype, shape, binary[start:end])
            start = end
        found[spec.name] = data
    if start != len(binary):
        raise invalid(
            f"{len(binary)} bytes of binary data arrived, binary_data_size of the inputs adds up to {start}"
        )
    return found


def _spec(tensor: _Json, kind: str, specs: Mapping[str, TensorSpec]) -> TensorSpec:
    name = tensor.get("name")
    spec = specs.get(name) if isinstance(name, str) else None
    if spec is None:
        raise invalid(f"{kind} {str(name)[:40]!r} is unknown", f"the model has {', '.join(specs)}")
    return spec


def _shape(tensor: _Json, spec: TensorSpec) -> tuple[int, ...]:
    """Return the shape of an input; ``[N, 1]``, which Triton's batches have, is ``[N]``."""
    datatype, shape = tensor.get("datatype"), tensor.get("shape")
    if datatype != spec.datatype:
        raise invalid(f"input {spec.name!r} has the datatype {str(datatype)[:40]!r}", f"send {spec.datatype}")
    if not isinstance(shape, list) or not all(type(size) is int and 0 < size < 2**31 for size in shape):
        raise invalid(f"the shape of input {spec.name!r} is no list of sizes", f"send {list(spec.shape)}")
    if spec.datatype == BYTES and len(shape) == len(spec.shape) + 1 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != len(spec.shape) or any(
        need not in (-1, size) for size, need in zip(shape, spec.shape, strict=True)
    ):
        raise invalid(
            f"input {spec.name!r} has the shape {shape[:8]}", f"send {list(spec.shape)}, where -1 is any size"
        )
    if shape[0] > MAX_ITEMS:
        raise invalid(f"input {spec.name!r} has the shape {shape}", f"send at most {MAX_ITEMS} at once")
    return tuple(shape)


def _size(size: object, spec: TensorSpec, left: int) -> int:
    if type(size) is not int or size < 0:
        raise invalid(
            f"binary_data_size of input {spec.name!r} is {str(size)[:40]!r}", "send a number of bytes"
        )
    if size > left:
        raise invalid(
            f"binary_data_size of input {spec.name!r} is {size}, {left} bytes of binary data are left",
            f"send the length of the JSON part in the header {HEADER_LENGTH}, and all of the binary data",
        )
    return size


def _read_outputs(content: _Json, outputs: Sequence[TensorSpec], default_binary: bool) -> dict[str, bool]:
    specs = {one.name: one for one in outputs}
    if not content.get("outputs"):
        return {name: default_binary for name, one in specs.items() if one.is_default}
    found: dict[str, bool] = {}
    for tensor in _objects(content, "outputs"):
        name = _spec(tensor, "output", specs).name
        sent = _parameters(tensor, f"output {name!r}")
        if sent.get("classification"):
            raise invalid(
                f"output {name!r} has the parameter classification, which is not supported",
                "leave it out; the metadata of the model has the labels",
            )
        found[name] = _flag(sent, "binary_data", f"output {name!r}", default_binary)
    return found


def _objects(content: _Json, key: str) -> list[_Json]:
    value = content.get(key)
    if not isinstance(value, list) or not value:
        raise invalid(f"{key!r} is no list of tensors", "the metadata of the model lists them")
    return [_object(one, f"an entry of {key!r}") for one in value]


def _parameters(content: _Json, where: str) -> _Json:
    value = content.get("parameters")
    if value is None:
        return {}
    return _object(value, f"'parameters' of {where}")


def _flag(parameters: _Json, name: str, where: str, default: bool = False) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise invalid(f"parameter {name} of {where} is {str(value)[:40]!r}", "send true or false")
    return value


def _object(value: object, what: str) -> _Json:
    if not isinstance(value, dict):
        raise invalid(f"{what} is no JSON object")
    return value
