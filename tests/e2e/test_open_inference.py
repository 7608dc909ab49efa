"""The Open Inference Protocol through the real server, over REST and gRPC, with tritonclient."""

import asyncio
import io
import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from cli.main import main
from samples.lesion import draw_lesion
from serve.open_inference.grpc_api import open_inference_pb2 as pb
from serve.open_inference.grpc_api.open_inference_pb2_grpc import GRPCInferenceServiceStub
from tests.conftest import ROOT
from tests.e2e.keyed_server import KEY, KeyedServer
from tests.e2e.raw_http import request, send_all
from tests.serve.fakes import jpeg_of
from tests.serve.open_inference_requests import binary_body, bytes_tensor, photos_body, tensor

pytestmark = [pytest.mark.server]

PYTHON = ROOT / ".venv-triton" / "bin" / "python"
PROGRAM = Path(__file__).with_name("triton_client") / "classify.py"
TIMEOUT_S = 120
TO_API = ("application", "api")
NO_PROXY = [("grpc.enable_http_proxy", 0)]
INFER = "/v2/models/lesion/infer"


@pytest.fixture(scope="module")
def photos() -> list[bytes]:
    return [jpeg_of(draw_lesion(seed=seed)) for seed in (3, 4, 5)]


@pytest.fixture(scope="module")
def folder(photos: Sequence[bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos, and the pixels of the first two."""
    folder = tmp_path_factory.mktemp("photos")
    for index, photo in enumerate(photos, start=1):
        (folder / f"lesion-{index}.jpg").write_bytes(photo)
    np.save(folder / "pixels.npy", np.stack([np.asarray(Image.open(io.BytesIO(one))) for one in photos[:2]]))
    return folder


@pytest.fixture(scope="module")
def http(keyed: KeyedServer) -> Iterator[httpx.Client]:
    headers = {"x-api-key": KEY}
    with httpx.Client(base_url=keyed.server.url, timeout=90, trust_env=False, headers=headers) as client:
        yield client


@pytest.fixture(scope="module")
def expected(http: httpx.Client, photos: Sequence[bytes]) -> list[dict[str, Any]]:
    """Answers of ``POST /v1/lesion``."""
    return [http.post("/v1/lesion", content=photo).json() for photo in photos]


@pytest.fixture(scope="module")
def triton_python() -> Path:
    """The environment with tritonclient; ``make test`` has installed it."""
    if not PYTHON.exists():
        pytest.fail("tritonclient is not installed; run make .venv-triton/installed")
    return PYTHON


def run_python(python: Path, *arguments: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run([python, *arguments], cwd=cwd, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_tritonclient_gets_the_answers_of_v1(
    keyed: KeyedServer, triton_python: Path, folder: Path, expected: list[dict[str, Any]], kind: str
):
    address = keyed.grpc_address if kind == "grpc" else f"127.0.0.1:{keyed.server.port}"

    found = json.loads(run_python(triton_python, PROGRAM, kind, address, KEY, folder))

    probabilities = [one["malignant_probability"] for one in expected]
    assert found["live"] and found["ready"] and found["model_ready"] and not found["unknown_ready"]
    assert (found["server"], found["inputs"]) == ("skinserve", ["photo", "image"])
    assert found["index"] == ["lesion-random", "progress-random"]
    assert (found["id"], found["model"]) == ("my-id", ["lesion-random", "1"])
    assert found["batch"]["malignant_probability"] == pytest.approx(probabilities, abs=1e-6)
    assert found["batch"]["verdict"] == found["gzip"]["verdict"] == [one["verdict"] for one in expected]
    assert [json.loads(one) for one in found["batch"]["reasons"]] == [one["reasons"] for one in expected]
    single = [one["malignant_probability"][0] for one in found["single"]]
    assert single == pytest.approx(probabilities, abs=1e-6)
    answers = [json.loads(one) for one in found["answers"]["answer"]]
    assert [one["verdict"] for one in answers] == [one["verdict"] for one in expected]
    labels = found["answers"]["labels"]
    for answer, row in zip(expected, found["batch"]["diagnoses"], strict=True):
        scores = {one["name"]: one["probability"] for one in answer["diagnoses"]}
        assert row == pytest.approx([scores[label] for label in labels], abs=1e-6)
    assert len(found["pixels"]["verdict"]) == 2
    if kind == "http":
        assert found["json"]["malignant_probability"] == pytest.approx(probabilities, abs=1e-6)
    status = {"http": ("415", "422", "404", "401"), "grpc": ("INVALID", "INVALID", "NOT_FOUND", "UNAUTH")}[
        kind
    ]
    for name, number, text in (
        ("bad", 0, "unsupported_type: photo 2 of 2: this is a web page"),
        ("unknown_output", 1, "invalid_request: output 'nothing' is unknown"),
        ("unknown_model", 2, "not_found: there is no model 'nothing'"),
        ("wrong_key", 3, "unauthorized: the key is not valid"),
        ("no_key", 3, "unauthorized: the request has no key"),
    ):
        assert status[number] in found[name][0] and found[name][1].startswith(text), found[name]
    assert json.loads(found["bad_kept"]["error"][1])["code"] == "unsupported_type"
    assert found["bad_kept"]["verdict"] == [expected[0]["verdict"], ""]
    assert found["statistics"] > 3, "each of the two gateways counts its own"


def test_the_programs_of_the_guide_run(keyed: KeyedServer, triton_python: Path, folder: Path, expected: Any):
    guide = (ROOT / "docs" / "open-inference.md").read_text(encoding="utf-8")
    programs = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    headers = f"headers={{'x-api-key': {KEY!r}, 'application': 'api'}}"

    outputs = []
    for program in programs:
        program = program.replace("127.0.0.1:8000", f"127.0.0.1:{keyed.server.port}")
        program = program.replace("127.0.0.1:9000", keyed.grpc_address)
        program = program.replace('infer("lesion", [photo])', f'infer("lesion", [photo], {headers})')
        program = program.replace('headers={"application": "api"}', headers)
        assert headers in program
        outputs.append(run_python(triton_python, "-c", program, cwd=folder))

    assert len(programs) == 2
    assert all(expected[0]["verdict"] in output for output in outputs)


# --- bad input, and other clients meanwhile ---


def grpc_error(
    address: str, message: pb.ModelInferRequest, metadata: Sequence[tuple[str, str]]
) -> tuple[grpc.StatusCode, str]:
    with grpc.insecure_channel(address, options=NO_PROXY) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            GRPCInferenceServiceStub(channel).ModelInfer(message, metadata=metadata, timeout=60)
    error: Any = caught.value
    return error.code(), error.details()


def test_other_clients_are_answered_while_streams_stop(
    keyed: KeyedServer, photos: Sequence[bytes], http: httpx.Client
):
    body, headers = photos_body(photos[0])
    lines = {**headers, "x-api-key": KEY, "content-length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    started = f"POST {INFER} HTTP/1.1\r\nHost: a\r\n{head}\r\n".encode() + body[: len(body) // 2]
    port = keyed.server.port

    with ExitStack() as connections:

        def connect(to: int, data: bytes) -> socket.socket:
            connection = connections.enter_context(socket.create_connection(("127.0.0.1", to), timeout=90))
            connection.sendall(data)
            return connection

        stopped = [connect(port, started) for _ in range(20)]
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        connect(keyed.grpc_port, preface + b"\0\0\0\4\0\0\0\0\0" + b"\0\1")  # settings, part of a frame
        for connection in stopped[:10]:
            connection.close()
        answers = [http.post(INFER, content=body, headers=headers) for _ in range(5)]
        with grpc.insecure_channel(keyed.grpc_address, options=NO_PROXY) as channel:
            live = GRPCInferenceServiceStub(channel).ServerLive(pb.ServerLiveRequest(), metadata=[TO_API])

    assert [answer.status_code for answer in answers] == [200] * 5
    assert live.live


def wrong_requests(photo: bytes) -> Mapping[str, tuple[bytes, dict[str, str]]]:
    data = bytes_tensor(photo)
    photo_tensor = tensor("photo", "BYTES", [1], len(data))
    return {
        "truncated": binary_body({"inputs": [photo_tensor]}, data[:-1]),
        "too long": binary_body({"inputs": [photo_tensor]}, data + b"x"),
        "other number": binary_body({"inputs": [{**photo_tensor, "shape": [2]}]}, data),
        "other type": binary_body({"inputs": [{**photo_tensor, "datatype": "FP32"}]}, data),
        "other shape": binary_body({"inputs": [{**photo_tensor, "shape": [1, 2, 3]}]}, data),
        "pixels of other size": binary_body(
            {"inputs": [tensor("image", "UINT8", [1, 100, 100, 3], len(data))]}, data
        ),
        "huge shape": binary_body({"inputs": [tensor("image", "UINT8", [1, 10**9, 10**9, 3], 0)]}, b""),
        "no JSON": (data, {"inference-header-content-length": "10"}),
        "long header": (data, {"inference-header-content-length": str(len(data) + 1)}),
        "no header": (data, {}),
    }


def test_wrong_requests_are_rejected_in_the_form_of_the_protocol(
    keyed: KeyedServer, http: httpx.Client, photos: Sequence[bytes]
):
    for name, (body, headers) in wrong_requests(photos[0]).items():
        answer = http.post(INFER, content=body, headers=headers)

        assert answer.status_code == 422, name
        assert answer.json()["error"].startswith("invalid_request: "), name
    assert http.get("/v2/health/ready").json() == {"ready": True}


def test_wrong_messages_are_rejected_and_so_are_calls_without_a_key(
    keyed: KeyedServer, photos: Sequence[bytes]
):
    photo = pb.ModelInferRequest.InferInputTensor(name="photo", datatype="BYTES", shape=[1])
    right = bytes_tensor(photos[0])
    metadata = [TO_API, ("x-api-key", KEY)]
    for data in ([right[:-1]], [right, b"x"], [], [b""]):
        message = pb.ModelInferRequest(model_name="lesion", inputs=[photo], raw_input_contents=data)
        code, details = grpc_error(keyed.grpc_address, message, metadata)
        assert code == grpc.StatusCode.INVALID_ARGUMENT and details.startswith("invalid_request: ")
    message = pb.ModelInferRequest(model_name="lesion", inputs=[photo], raw_input_contents=[right])
    without = grpc_error(keyed.grpc_address, message, [TO_API])
    elsewhere = grpc_error(keyed.grpc_address, message, [("application", "ui"), ("x-api-key", KEY)])
    nowhere = grpc_error(keyed.grpc_address, message, [("x-api-key", KEY)])
    message.raw_input_contents[0] = bytes(65_000_000)
    too_large = grpc_error(keyed.grpc_address, message, metadata)

    assert without[0] == grpc.StatusCode.UNAUTHENTICATED
    assert elsewhere[0] not in (grpc.StatusCode.OK, grpc.StatusCode.UNAUTHENTICATED)
    assert nowhere[0] == grpc.StatusCode.NOT_FOUND, "two applications: HAProxy needs the metadata"
    assert too_large[0] == grpc.StatusCode.RESOURCE_EXHAUSTED
    with grpc.insecure_channel(keyed.grpc_address, options=NO_PROXY) as channel:
        ready = GRPCInferenceServiceStub(channel).ServerReady(pb.ServerReadyRequest(), metadata=[TO_API])
    assert ready.ready


@pytest.fixture
def eager_key(keyed: KeyedServer, capsys: pytest.CaptureFixture[str]) -> str:
    """A key with a limit."""
    options = ("--file", str(keyed.keys_file), "--requests-per-second", "1", "--burst", "20")
    assert main(["keys", "add", "eager-grpc", *options]) == 0
    return capsys.readouterr().out.strip()


def test_rate_limits_hold_over_grpc(keyed: KeyedServer, eager_key: str):
    metadata = [TO_API, ("x-api-key", eager_key)]
    errors: list[Any] = []
    with grpc.insecure_channel(keyed.grpc_address, options=NO_PROXY) as channel:
        stub = GRPCInferenceServiceStub(channel)
        until = time.monotonic() + 60
        while not errors or errors[-1].code() != grpc.StatusCode.RESOURCE_EXHAUSTED:
            assert time.monotonic() < until, errors
            try:
                stub.ServerMetadata(pb.ServerMetadataRequest(), metadata=metadata, timeout=60)
            except grpc.RpcError as error:  # UNAUTHENTICATED until the gateways know the key
                errors.append(error)

    assert errors[-1].details().startswith("rate_limited: ")
    trailing = dict(errors[-1].trailing_metadata())
    assert int(trailing["retry-after"]) >= 1 and "ratelimit-limit" in trailing


def test_deadline_request_id_and_cancellation_hold_over_grpc(keyed: KeyedServer, photos: Sequence[bytes]):
    key = ("x-api-key", KEY)
    message = pb.ModelInferRequest(
        model_name="lesion",
        inputs=[pb.ModelInferRequest.InferInputTensor(name="photo", datatype="BYTES", shape=[64])],
        raw_input_contents=[bytes_tensor(*[photos[0]] * 64)],
    )
    with grpc.insecure_channel(keyed.grpc_address, options=NO_PROXY) as channel:
        infer: Any = GRPCInferenceServiceStub(channel).ModelInfer

        metadata = [TO_API, key, ("x-request-id", "answered-call")]
        _, call = infer.with_call(message, metadata=metadata, timeout=60)
        metadata = [TO_API, key, ("x-request-timeout-seconds", "0.001")]
        late = grpc_error(keyed.grpc_address, message, metadata)
        for number in range(1, 11):  # a busy machine may receive a call after it was cancelled
            pending = infer.future(message, metadata=[TO_API, key, ("x-request-id", f"cancelled-{number}")])
            time.sleep(0.05 * number)
            pending.cancel()

    assert dict(call.trailing_metadata())["x-request-id"] == "answered-call"
    assert late[0] == grpc.StatusCode.DEADLINE_EXCEEDED and late[1].startswith("deadline_exceeded: ")
    assert keyed.wait_for_audit_line(request_id="answered-call")["status"] == 200
    until = time.monotonic() + 30
    while not any(is_cancelled(line) for line in keyed.audit_lines()):
        assert time.monotonic() < until
        time.sleep(0.1)


def is_cancelled(line: Mapping[str, object]) -> bool:
    """Return whether an audit line is of a call that ended without a response."""
    return str(line["request_id"]).startswith("cancelled-") and line["status"] is None


def test_grpc_of_the_replicas_is_closed_to_other_machines(keyed: KeyedServer):
    """Ray binds it to all addresses; a call that has not come through HAProxy is rejected."""
    address = next(
        one.address
        for interface in psutil.net_if_addrs().values()
        for one in interface
        if one.family == socket.AF_INET and not one.address.startswith("127.")
    )
    ports = {
        one.laddr.port
        for process in keyed.server.replicas("Gateway")
        for one in process.net_connections("tcp")
        if one.status == psutil.CONN_LISTEN and one.laddr.ip not in ("127.0.0.1", "::ffff:127.0.0.1")
    }
    message = pb.ModelInferRequest(model_name="lesion")

    codes = [grpc_error(f"{address}:{port}", message, [("x-api-key", KEY)]) for port in ports]

    assert {code for code, _ in codes} <= {
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,  # of Ray's calls between replicas
        grpc.StatusCode.UNIMPLEMENTED,
    }
    assert any("call the port of --grpc-port" in details for _, details in codes)


def test_health_is_open_and_nothing_else_is(keyed: KeyedServer):
    paths = ("/v2", "/v2/models/lesion", "/v2/models/stats", "/v2/models/lesion/ready")

    requests = {path: request("GET", path) for path in (*paths, "/v2/health/live")}
    answers = asyncio.run(send_all(keyed.server.port, requests))

    assert {path: answers[path].status for path in paths} == dict.fromkeys(paths, 401)
    assert answers["/v2/health/live"].status == 200
