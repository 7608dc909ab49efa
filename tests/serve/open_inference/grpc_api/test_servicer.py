import asyncio
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from fastapi import FastAPI
from google.protobuf.descriptor import FieldDescriptor

from serve.open_inference.grpc_api import open_inference_pb2 as pb
from serve.open_inference.grpc_api import rest_calls, servicer
from serve.open_inference.grpc_api.servicer import GrpcInferenceService, is_loopback
from serve.runtime.keys_file import KeyEntry, change_keys, key_digest
from tests.serve.fakes import FakeModels, fake_app, picture
from tests.serve.open_inference_requests import bytes_tensor

KEY = "sk_0123456789abcdefghijkl"
WITH_KEY = ("authorization", f"Bearer {KEY}")
Input = pb.ModelInferRequest.InferInputTensor


@dataclass
class FakeContext:
    """In place of Ray's context of a call."""

    metadata: list[tuple[str, Any]] = field(default_factory=list)
    address: str = "ipv4:127.0.0.1:5000"
    code: grpc.StatusCode | None = None
    details: str = ""
    trailing: dict[str, str] = field(default_factory=dict)

    def invocation_metadata(self) -> list[tuple[str, Any]]:
        return self.metadata

    def peer(self) -> str:
        return self.address

    def set_code(self, code: grpc.StatusCode) -> None:
        self.code = code

    def set_details(self, details: str) -> None:
        self.details = details

    def set_trailing_metadata(self, trailing_metadata: list[tuple[str, str]]) -> None:
        self.trailing = dict(trailing_metadata)


Call = Callable[..., Any]
"""Calls a method; returns response and context."""


def service_of(app: FastAPI, *, local_only: bool = False) -> GrpcInferenceService:
    service = GrpcInferenceService()
    pool = app.state.open_inference.pool
    service.set_grpc_app(app, authorizer=app.state.authorizer, pool=pool, local_only=local_only)
    return service


@pytest.fixture
def service(models: FakeModels) -> GrpcInferenceService:
    return service_of(fake_app(models))


@pytest.fixture
def service_with_key(models: FakeModels, tmp_path: Path) -> GrpcInferenceService:
    file = tmp_path / "keys.yaml"
    fields = {"name": "one", "sha256": key_digest(KEY), "roles": ["predict"], "limit": {"photos_per_day": 2}}
    change_keys(file, lambda entries: [KeyEntry.model_validate(fields)])
    gateway = {"keys_file": str(file), "audit_log": str(tmp_path / "audit.log")}
    return service_of(fake_app(models, gateway=gateway))


def photos(*files: bytes, raw: bool = True, **fields: Any) -> pb.ModelInferRequest:
    tensor = Input(name="photo", datatype="BYTES", shape=[len(files)])
    if raw:
        return pb.ModelInferRequest(
            model_name="lesion", inputs=[tensor], raw_input_contents=[bytes_tensor(*files)], **fields
        )
    tensor.contents.bytes_contents.extend(files)
    return pb.ModelInferRequest(model_name="lesion", inputs=[tensor], **fields)


def outputs(response: pb.ModelInferResponse) -> dict[str, bytes]:
    names = [one.name for one in response.outputs]
    return dict(zip(names, response.raw_output_contents, strict=True))


@pytest.mark.parametrize("raw", [True, False])
async def test_photos_are_classified(service: GrpcInferenceService, raw: bool):
    context = FakeContext([("x-request-id", "abc.1")])

    response = await service.ModelInfer(photos(picture(), picture(), raw=raw, id="7"), context)

    assert isinstance(response, pb.ModelInferResponse) and context.code is None
    assert (response.model_name, response.model_version, response.id) == ("lesion-fake", "1", "7")
    found = outputs(response)
    assert found["verdict"] == bytes_tensor(b"benign", b"benign")
    assert np.frombuffer(found["malignant_probability"], "<f4").tolist() == pytest.approx([0.2, 0.2])
    assert [list(one.shape) for one in response.outputs if one.name == "diagnoses"] == [[2, 2]]
    assert context.trailing["x-request-id"] == "abc.1"


@pytest.mark.parametrize("raw", [True, False])
async def test_pixels_are_classified(service: GrpcInferenceService, raw: bool):
    pixels = np.random.default_rng(1).integers(0, 256, (1, 40, 50, 3)).astype(np.uint8)
    tensor = Input(name="image", datatype="UINT8", shape=pixels.shape)
    request = pb.ModelInferRequest(model_name="lesion-fake", model_version="1", inputs=[tensor])
    if raw:
        request.raw_input_contents.append(pixels.tobytes())
    else:
        request.inputs[0].contents.uint_contents.extend(pixels.reshape(-1).tolist())

    response = await service.ModelInfer(request, FakeContext())

    assert isinstance(response, pb.ModelInferResponse)
    assert outputs(response)["verdict"] == bytes_tensor(b"benign")


async def test_outputs_and_parameters_are_passed_on(service: GrpcInferenceService):
    request = photos(picture())
    request.outputs.add(name="answer")
    request.parameters["top_k"].int64_param = 1
    request.parameters["explain"].bool_param = True

    response = await service.ModelInfer(request, FakeContext())

    assert isinstance(response, pb.ModelInferResponse)
    answer = json.loads(outputs(response)["answer"][4:])
    assert len(answer["diagnoses"]) == 1 and answer["heatmap_png"]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda request: request.raw_input_contents.append(b"more"), "bytes of binary data arrived"),
        (lambda request: request.raw_input_contents.pop(), "has 0 elements"),
        (
            lambda request: request.inputs[0].contents.bytes_contents.append(b"x"),
            "binary data arrived",
        ),
        (lambda request: request.inputs.pop(), "'inputs' is no list"),
        (lambda request: setattr(request.inputs[0], "datatype", "FP32"), "send BYTES"),
        (lambda request: request.inputs[0].shape.append(5), r"send \[-1\]"),
        (lambda request: request.outputs.add(name="nothing"), "output 'nothing' is unknown"),
        (lambda request: request.parameters["priority"], "parameter 'priority' is unknown"),
        (lambda request: request.parameters["top_k"], "parameter top_k has no effect"),
        (lambda request: setattr(request, "id", "x" * 1001), "at most 1000 characters"),
    ],
)
async def test_a_wrong_request_is_an_invalid_argument(
    service: GrpcInferenceService, change: Callable[[Any], object], match: str
):
    request, context = photos(picture()), FakeContext()
    change(request)

    response = await service.ModelInfer(request, context)

    assert (context.code, response) == (grpc.StatusCode.INVALID_ARGUMENT, pb.ModelInferResponse())
    assert re.search(match, context.details), context.details


async def test_large_numbers_are_no_pixels(service: GrpcInferenceService):
    tensor = Input(name="image", datatype="UINT8", shape=[1, 1, 1, 3])
    tensor.contents.uint_contents.extend([1, 2, 256])
    context = FakeContext()

    await service.ModelInfer(pb.ModelInferRequest(model_name="lesion", inputs=[tensor]), context)

    assert "no integers from 0 to 255" in context.details


async def test_health_and_metadata(service: GrpcInferenceService, models: FakeModels):
    models.dead = {"face"}
    context = FakeContext()
    server = await service.ServerMetadata(pb.ServerMetadataRequest(), context)
    model = await service.ModelMetadata(pb.ModelMetadataRequest(name="lesion"), context)
    index = await service.RepositoryIndex(pb.RepositoryIndexRequest(ready=True), context)

    assert await service.ServerLive(pb.ServerLiveRequest(), context) == pb.ServerLiveResponse(live=True)
    assert await service.ServerReady(pb.ServerReadyRequest(), context) == pb.ServerReadyResponse(ready=False)
    for name, ready in (("lesion", True), ("progress", False), ("nothing", False)):
        found = await service.ModelReady(pb.ModelReadyRequest(name=name), context)
        assert found == pb.ModelReadyResponse(ready=ready)
    assert isinstance(server, pb.ServerMetadataResponse) and "statistics" in server.extensions
    assert isinstance(model, pb.ModelMetadataResponse)
    assert (model.name, list(model.versions)) == ("lesion-fake", ["1"])
    assert list(model.outputs[5].shape) == [-1, 2]
    assert isinstance(index, pb.RepositoryIndexResponse)
    assert [(one.name, one.state) for one in index.models] == [("lesion-fake", "READY")]
    assert context.code is None


async def test_statistics(service: GrpcInferenceService):
    await service.ModelInfer(photos(picture(), picture()), FakeContext())

    one = await service.ModelStatistics(pb.ModelStatisticsRequest(name="lesion"), FakeContext())
    every = await service.ModelStatistics(pb.ModelStatisticsRequest(), FakeContext())

    assert isinstance(one, pb.ModelStatisticsResponse) and isinstance(every, pb.ModelStatisticsResponse)
    assert [(model.name, model.inference_count) for model in one.model_stats] == [("lesion-fake", 2)]
    assert one.model_stats[0].inference_stats.success.ns > 0
    assert len(every.model_stats) == 2


@pytest.mark.parametrize("method", ["ServerMetadata", "ModelMetadata", "ModelReady", "RepositoryIndex"])
async def test_without_a_key_nothing_but_health_is_answered(
    service_with_key: GrpcInferenceService, method: str
):
    request = getattr(pb, f"{method}Request")()
    if "name" in request.DESCRIPTOR.fields_by_name:
        request.name = "lesion"
    without, wrong, right = FakeContext(), FakeContext([("x-api-key", "sk_wrong")]), FakeContext([WITH_KEY])

    for context in (without, wrong, right):
        await getattr(service_with_key, method)(request, context)
    live = await service_with_key.ServerLive(pb.ServerLiveRequest(), FakeContext())

    assert without.code == wrong.code == grpc.StatusCode.UNAUTHENTICATED
    assert without.details.startswith("unauthorized: the request has no key")
    assert right.code is None
    assert live == pb.ServerLiveResponse(live=True)


async def test_inference_passes_key_role_quota_and_audit_log(
    service_with_key: GrpcInferenceService, tmp_path: Path, models: FakeModels
):
    contexts = [FakeContext(), FakeContext([WITH_KEY]), *(FakeContext([WITH_KEY]) for _ in range(3))]
    requests = [photos(picture()), photos(picture(), picture()), *[photos(picture())] * 3]

    for request, context in zip(requests, contexts, strict=True):
        await service_with_key.ModelInfer(request, context)

    assert [context.code for context in contexts] == [
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        None,
        None,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    ]
    assert contexts[1].details.startswith("forbidden: a request of several photos needs the role bulk")
    assert int(contexts[4].trailing["retry-after"]) > 0
    assert len(models.photos) == 2
    app: Any = service_with_key._grpc_app
    app.state.audit_log.close()
    lines = [json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines()]
    assert [line["caller"] for line in lines] == ["unknown", *["key:one"] * 4]
    assert {line["route"] for line in lines} <= {"/v2/models/{model_name}/infer", "/v2/models/{path}"}
    assert [line["request_id"] for line in lines] == [one.trailing["x-request-id"] for one in contexts]


async def test_a_message_without_a_key_is_not_translated(
    service_with_key: GrpcInferenceService, monkeypatch: pytest.MonkeyPatch
):
    translated: list[object] = []
    spied = replace(rest_calls.TRANSLATIONS["ModelInfer"], write=translated.append)
    monkeypatch.setitem(rest_calls.TRANSLATIONS, "ModelInfer", spied)  # pyright: ignore[reportArgumentType]
    contexts = [FakeContext(), FakeContext([("x-api-key", "sk_wrong")])]

    for context in contexts:
        await service_with_key.ModelInfer(photos(picture()), context)

    assert [context.code for context in contexts] == [grpc.StatusCode.UNAUTHENTICATED] * 2
    assert all(context.trailing["x-request-id"] for context in contexts)
    assert not translated


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda request: request.inputs.extend([Input()] * 64), "65 inputs"),
        (lambda request: [request.outputs.add() for _ in range(65)], "65 outputs"),
        (lambda request: request.raw_input_contents.extend([b""] * 64), "65 raw_input_contents"),
        (lambda request: request.inputs[0].shape.extend([1] * 64), "65 dimensions of a shape"),
        (lambda request: [request.parameters[f"{one}"] for one in range(65)], "65 parameters"),
        (lambda request: [request.inputs[0].parameters[f"{one}"] for one in range(65)], "65 parameters"),
        (
            lambda request: request.inputs[0].contents.bytes_contents.extend([b""] * 10_001),
            "10001 bytes_cont",
        ),
        (lambda request: request.inputs[0].contents.uint_contents.extend([0] * 101), "101 uint_contents"),
    ],
)
async def test_a_message_of_too_many_parts_is_not_translated(
    service: GrpcInferenceService,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Any], object],
    found: str,
):
    monkeypatch.setattr(rest_calls, "MAX_JSON_VALUES", 100)
    request, context = photos(picture()), FakeContext()
    change(request)

    await service.ModelInfer(request, context)

    assert context.code == grpc.StatusCode.INVALID_ARGUMENT
    assert context.details.startswith(f"invalid_request: the message has {found}"), context.details
    assert context.trailing["x-request-id"]


async def test_many_elements_are_translated_in_a_thread(
    service: GrpcInferenceService, monkeypatch: pytest.MonkeyPatch
):
    threads: list[str] = []

    def write(request: pb.ModelInferRequest) -> rest_calls.RestRequest:
        threads.append(threading.current_thread().name)
        return rest_calls.write_inference(request)

    spied = replace(rest_calls.TRANSLATIONS["ModelInfer"], write=write)
    monkeypatch.setitem(rest_calls.TRANSLATIONS, "ModelInfer", spied)  # pyright: ignore[reportArgumentType]
    pixels = Input(name="image", datatype="UINT8", shape=[1, 60, 60, 3])
    pixels.contents.uint_contents.extend([200] * 10_800)
    contexts = FakeContext(), FakeContext()

    await service.ModelInfer(photos(picture()), contexts[0])
    await service.ModelInfer(pb.ModelInferRequest(model_name="lesion", inputs=[pixels]), contexts[1])

    assert [context.code for context in contexts] == [None, None]
    assert [name.startswith("decode") for name in threads] == [False, True]


async def test_long_names_are_cut(service: GrpcInferenceService):
    request, context = pb.ModelMetadataRequest(name="ü" * 100_000, version="1" * 100_000), FakeContext()

    await service.ModelMetadata(request, context)

    assert context.code == grpc.StatusCode.NOT_FOUND
    assert len(rest_calls.TRANSLATIONS["ModelMetadata"].write(request).path) < 10_000


async def test_metadata_cannot_contradict_the_message(service: GrpcInferenceService):
    metadata = [
        ("content-length", "5"),
        ("inference-header-content-length", "0"),
        ("content-encoding", "gzip"),
        ("x-skinserve-timeout-seconds", "0.000001"),
        ("data-bin", b"\xff"),
    ]
    context = FakeContext(metadata)

    await service.ModelInfer(photos(picture()), context)

    assert context.code is None


async def test_overload_and_deadline(models: FakeModels):
    busy = service_of(fake_app(models, gateway={"max_bytes_in_flight": 100}))
    models.delay_s = 60
    overloaded, late = FakeContext(), FakeContext([("x-request-timeout-seconds", "0.2")])

    await busy.ModelInfer(photos(picture()), overloaded)
    await service_of(fake_app(models)).ModelInfer(photos(picture()), late)

    assert (overloaded.code, overloaded.trailing["retry-after"]) == (grpc.StatusCode.UNAVAILABLE, "2")
    assert overloaded.details.startswith("overloaded: ")
    assert late.code == grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_cancelled_call_is_cancelled_at_the_replica(
    service: GrpcInferenceService, models: FakeModels
):
    models.delay_s = 60
    call = asyncio.create_task(service.ModelInfer(photos(picture()), FakeContext()))
    while not models.num_calls:
        await asyncio.sleep(0.01)

    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    assert models.num_cancelled == 1


async def test_errors_of_photos_and_of_the_server(
    service: GrpcInferenceService, models: FakeModels, monkeypatch: pytest.MonkeyPatch
):
    html, unknown, failed, broken = FakeContext(), FakeContext(), FakeContext(), FakeContext()
    await service.ModelInfer(photos(b"<html>"), html)
    await service.ModelMetadata(pb.ModelMetadataRequest(name="a/../b?c"), unknown)
    models.failure = ZeroDivisionError("a secret")
    await service.ModelInfer(photos(picture()), failed)

    async def raise_error(*_: object) -> None:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(servicer, "call_app", raise_error)
    await service.ServerLive(pb.ServerLiveRequest(), broken)

    assert html.code == grpc.StatusCode.INVALID_ARGUMENT
    assert html.details.startswith("unsupported_type: this is a web page")
    assert unknown.code == grpc.StatusCode.NOT_FOUND
    assert failed.code == broken.code == grpc.StatusCode.INTERNAL
    assert failed.trailing["x-request-id"] in failed.details
    assert "secret" not in failed.details + broken.details


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("ipv4:127.0.0.1:34567", True),
        ("ipv6:%5B::1%5D:34567", True),
        ("ipv6:[::ffff:127.0.0.1]:1", True),
        ("ipv4:192.0.2.7:34567", False),
        ("ipv6:%5B2001:db8::1%5D:34567", False),
        ("unix:", False),
        ("", False),
    ],
)
async def test_only_haproxy_of_this_machine_may_call_the_replicas(
    models: FakeModels, peer: str, expected: bool
):
    context = FakeContext(address=peer)

    await service_of(fake_app(models), local_only=True).ServerLive(pb.ServerLiveRequest(), context)

    assert is_loopback(peer) == expected
    assert context.code == (None if expected else grpc.StatusCode.PERMISSION_DENIED)


def test_the_generated_code_is_that_of_the_proto_file():
    text = Path(servicer.__file__).with_name("open_inference.proto").read_text(encoding="utf-8")
    fields = re.findall(r"^ +(?:repeated )?[\w.<>, ]+ (\w+) = (\d+);", text, re.MULTILINE)
    messages = list(pb.DESCRIPTOR.message_types_by_name.values())
    messages += [inner for one in messages for inner in one.nested_types if not inner.GetOptions().map_entry]
    found: list[FieldDescriptor] = [one for message in messages for one in message.fields]

    assert sorted(fields) == sorted((one.name, str(one.number)) for one in found)
    methods = re.findall(r"rpc (\w+)\(", text)
    service = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    assert methods == [method.name for method in service.methods]
    assert all(callable(getattr(GrpcInferenceService, name)) for name in methods)
