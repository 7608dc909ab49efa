"""Translate the messages of the gRPC service to requests to the REST routes, and responses back.

An invalid message is passed on to the REST route, or its error is, so that keys and limits apply first.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

import orjson
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

from serve.open_inference.binary_tensors import HEADER_LENGTH, invalid, write_tensor
from serve.open_inference.grpc_api import open_inference_pb2 as pb
from serve.open_inference.messages import BYTES
from serve.open_inference.request_body import MAX_ITEMS, MAX_JSON_VALUES
from serve.runtime.errors import ApiError

MAX_TENSORS = 64
"""Inputs, outputs, raw contents, dimensions, and parameters; models have fewer of each."""
MAX_NAME_CHARS = 1000
"""Of a model; longer ones are cut, since no model has such a name."""


@dataclass(frozen=True, kw_only=True)
class RestRequest:
    """A request to a route of this gateway."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Sequence[bytes] = ()
    """Parts of the body."""
    error: ApiError | None = None
    """In place of the body: raised where the route reads it."""


@dataclass(frozen=True, kw_only=True)
class RestResponse:
    """The response of a route of this gateway."""

    status: int
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes

    @property
    def error(self) -> str | None:
        """Return the text of an error response; None without an error."""
        if self.status < 400:
            return None
        content = orjson.loads(self.body)
        return content.get("error") if isinstance(content, dict) else None


@dataclass(frozen=True, kw_only=True)
class Translation:
    """Translate one method of the service."""

    response: type[Message]
    write: Callable[[Any], RestRequest]
    read: Callable[[RestResponse], Message]
    """Of responses without an error."""
    is_missing_error: bool = True
    """Whether 404 is an error; else ``read`` gets it."""


def _get(path: str) -> RestRequest:
    return RestRequest(method="GET", path=path, headers={})


def _model(name: str, version: str, route: str = "") -> str:
    name, version = (quote(one[:MAX_NAME_CHARS], safe="") for one in (name, version))
    return f"/v2/models/{name}{f'/versions/{version}' if version else ''}{route}"


def _statistics(request: pb.ModelStatisticsRequest) -> RestRequest:
    return _get(_model(request.name, request.version, "/stats") if request.name else "/v2/models/stats")


def _index(request: pb.RepositoryIndexRequest) -> RestRequest:
    body = orjson.dumps({"ready": request.ready})
    return RestRequest(method="POST", path="/v2/repository/index", headers={}, body=[body])


def _parser(response: type[Message]) -> Callable[[RestResponse], Message]:
    """Return a function that reads the members of a JSON object that are fields of a message."""

    def read(answer: RestResponse) -> Message:
        return ParseDict(orjson.loads(answer.body), response(), ignore_unknown_fields=True)

    return read


def _read_index(answer: RestResponse) -> Message:
    return ParseDict({"models": orjson.loads(answer.body)}, pb.RepositoryIndexResponse())


def inference_route(request: pb.ModelInferRequest) -> RestRequest:
    """Return the request without headers and body, which ``write_inference`` adds."""
    path = _model(request.model_name, request.model_version, "/infer")
    return RestRequest(method="POST", path=path, headers={})


def count_elements(request: pb.ModelInferRequest) -> int:
    """Count the elements in ``contents`` of all inputs; reject a message of too many parts.

    Raises:
        ApiError: ``invalid_request``; millions of parts take minutes and gigabytes to translate.
    """
    _check_number("inputs", len(request.inputs), MAX_TENSORS)
    _check_number("outputs", len(request.outputs), MAX_TENSORS)
    _check_number("raw_input_contents", len(request.raw_input_contents), MAX_TENSORS)
    for tensor in (request, *request.inputs, *request.outputs):
        _check_number("parameters", len(tensor.parameters), MAX_TENSORS)
    for tensor in request.inputs:
        _check_number("dimensions of a shape", len(tensor.shape), MAX_TENSORS)
    num_bytes = sum(len(tensor.contents.bytes_contents) for tensor in request.inputs)
    num_numbers = sum(len(tensor.contents.uint_contents) for tensor in request.inputs)
    _check_number("bytes_contents", num_bytes, MAX_ITEMS)
    _check_number("uint_contents", num_numbers, MAX_JSON_VALUES, "; send pixels as raw_input_contents")
    return num_bytes + num_numbers


def _check_number(what: str, found: int, limit: int, advice: str = "") -> None:
    if found > limit:
        raise invalid(f"the message has {found} {what}", f"send at most {limit}{advice}")


def write_inference(request: pb.ModelInferRequest) -> RestRequest:
    """Write an inference request as JSON and binary tensor data."""
    inputs: list[dict[str, Any]] = []
    body: list[bytes] = []
    for index, tensor in enumerate(request.inputs):
        is_raw = index < len(request.raw_input_contents)
        data = request.raw_input_contents[index] if is_raw else _contents(tensor)
        parameters = _parameters(tensor.parameters)
        fields = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
        if isinstance(data, bytes):
            body.append(data)
            inputs.append({**fields, "parameters": {**parameters, "binary_data_size": len(data)}})
        else:
            inputs.append({**fields, "parameters": parameters, "data": data})
        if is_raw and tensor.HasField("contents"):  # excess data, which is an error
            body.append(b"contents")
    body += request.raw_input_contents[len(request.inputs) :]
    content = {
        "id": request.id,
        "parameters": {**_parameters(request.parameters), "binary_data_output": True},
        "inputs": inputs,
        "outputs": [
            {"name": one.name, "parameters": {**_parameters(one.parameters), "binary_data": True}}
            for one in request.outputs
        ],
    }
    header = orjson.dumps(content)
    return replace(inference_route(request), headers={HEADER_LENGTH: str(len(header))}, body=[header, *body])


def read_inference(answer: RestResponse) -> pb.ModelInferResponse:
    """Read an inference response whose outputs are all binary."""
    start = int(answer.headers[HEADER_LENGTH.lower()])
    content = orjson.loads(answer.body[:start])
    response = pb.ModelInferResponse(
        model_name=content["model_name"], model_version=content["model_version"], id=content.get("id", "")
    )
    for output in content["outputs"]:
        response.outputs.add(name=output["name"], datatype=output["datatype"], shape=output["shape"])
        end = start + output["parameters"]["binary_data_size"]
        response.raw_output_contents.append(answer.body[start:end])
        start = end
    return response


def _contents(tensor: pb.ModelInferRequest.InferInputTensor) -> bytes | list[int]:
    """Return the elements of an input as binary data, or as a list with numbers that are too large."""
    if tensor.datatype == BYTES:
        return write_tensor(list(tensor.contents.bytes_contents))
    numbers = list(tensor.contents.uint_contents)
    return numbers if numbers and max(numbers) > 255 else bytes(numbers)


def _parameters(parameters: Mapping[str, pb.InferParameter]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in parameters.items():
        field = value.WhichOneof("parameter_choice")
        found[name] = None if field is None else getattr(value, field)
    return found


TRANSLATIONS: Mapping[str, Translation] = {
    "ServerLive": Translation(
        response=pb.ServerLiveResponse,
        write=lambda request: _get("/v2/health/live"),
        read=_parser(pb.ServerLiveResponse),
    ),
    "ServerReady": Translation(
        response=pb.ServerReadyResponse,
        write=lambda request: _get("/v2/health/ready"),
        read=_parser(pb.ServerReadyResponse),
    ),
    "ModelReady": Translation(
        response=pb.ModelReadyResponse,
        write=lambda request: _get(_model(request.name, request.version, "/ready")),
        read=lambda answer: pb.ModelReadyResponse(ready=answer.status == 200),
        is_missing_error=False,
    ),
    "ServerMetadata": Translation(
        response=pb.ServerMetadataResponse,
        write=lambda request: _get("/v2"),
        read=_parser(pb.ServerMetadataResponse),
    ),
    "ModelMetadata": Translation(
        response=pb.ModelMetadataResponse,
        write=lambda request: _get(_model(request.name, request.version)),
        read=_parser(pb.ModelMetadataResponse),
    ),
    "ModelInfer": Translation(response=pb.ModelInferResponse, write=write_inference, read=read_inference),
    "ModelStatistics": Translation(
        response=pb.ModelStatisticsResponse,
        write=_statistics,
        read=_parser(pb.ModelStatisticsResponse),
    ),
    "RepositoryIndex": Translation(response=pb.RepositoryIndexResponse, write=_index, read=_read_index),
}
"""By name of the method."""
