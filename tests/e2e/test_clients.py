"""Equal answers for every HTTP client; clients read an early response at different times."""

import asyncio
import base64
import gzip
import io
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import httpx
import pytest
import requests

from samples.lesion import draw_lesion
from serve.config import GatewayConfig
from serve.runtime.errors import STATUS
from tests.conftest import Server
from tests.serve.fakes import jpeg_of

pytestmark = [pytest.mark.server]

PROGRAMS = Path(__file__).with_name("http_clients")
TIMEOUT_S = 90
Answer = tuple[int, str]
"""Status and body."""
Client = Callable[[str, Path, str], Answer]
"""Post a file to a URL, with a content type."""


def post_with_requests(url: str, file: Path, kind: str) -> Answer:
    with requests.Session() as session:
        session.trust_env = False
        answer = session.post(url, file.read_bytes(), headers={"content-type": kind}, timeout=TIMEOUT_S)
    return answer.status_code, answer.text


def post_with_httpx(url: str, file: Path, kind: str) -> Answer:
    headers = {"content-type": kind}
    answer = httpx.post(url, content=file.read_bytes(), headers=headers, timeout=TIMEOUT_S, trust_env=False)
    return answer.status_code, answer.text


def post_with_aiohttp(url: str, file: Path, kind: str) -> Answer:
    async def post() -> Answer:
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, data=io.BytesIO(file.read_bytes()), headers={"content-type": kind}) as answer,
        ):
            return answer.status, await answer.text()

    return asyncio.run(post())


def post_with_curl(url: str, file: Path, kind: str) -> Answer:
    """It sends ``Expect: 100-continue`` with a large body."""
    options = ["--silent", "--show-error", "--noproxy", "*", "--write-out", "%{stderr}%{http_code}"]
    run = subprocess.run(
        ["curl", *options, "--header", f"content-type: {kind}", "--data-binary", f"@{file}", url],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert run.returncode == 0, run.stderr
    return int(run.stderr), run.stdout


def post_with_fetch(url: str, file: Path, kind: str) -> Answer:
    return run_client("node", PROGRAMS / "fetch.mjs", url, file, kind)


def run_client(*command: str | Path) -> Answer:
    run = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert run.returncode == 0, run.stderr
    status, _, body = run.stdout.partition("\n")
    return int(status), body


@pytest.fixture(scope="session")
def post_with_go(tmp_path_factory: pytest.TempPathFactory) -> Client:
    """It sends a file in chunks, without Content-Length."""
    folder = tmp_path_factory.mktemp("go")
    subprocess.run(
        ["go", "build", "-o", folder / "post", PROGRAMS / "post.go"],
        env=os.environ | {"GOCACHE": str(folder / "cache"), "GOPROXY": "off"},
        check=True,
    )
    return lambda url, file, kind: run_client(folder / "post", url, file, kind)


CLIENTS: dict[str, Client] = {
    "requests": post_with_requests,
    "httpx": post_with_httpx,
    "aiohttp": post_with_aiohttp,
    "curl": post_with_curl,
    "node": post_with_fetch,
}


def client_of(name: str, request: pytest.FixtureRequest) -> Client:
    if name in ("curl", "node", "go") and shutil.which(name) is None:
        pytest.skip(f"no {name} here")
    return request.getfixturevalue("post_with_go") if name == "go" else CLIENTS[name]


@dataclass(frozen=True)
class Files:
    photo: Path
    large: Path
    """Larger than the limit, and than all buffers between client and server."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("files")
    found = Files(photo=folder / "photo.jpg", large=folder / "large.jpg")
    found.photo.write_bytes(jpeg_of(draw_lesion(seed=3)))
    found.large.write_bytes(bytes(25_000_000))
    return found


@pytest.mark.parametrize("name", [*CLIENTS, "go"])
def test_every_client_gets_the_same_answers(
    request: pytest.FixtureRequest, server_url: str, files: Files, name: str
):
    post = client_of(name, request)
    url = f"{server_url}/v1/lesion"

    accepted = post(url, files.photo, "image/jpeg")
    too_large = post(url, files.large, "image/jpeg")
    wrong_type = post(url, files.large, "text/plain")
    wrong_parameter = post(f"{url}?topk=3", files.large, "image/jpeg")

    assert accepted[0] == 200 and "malignant_probability" in json.loads(accepted[1])
    assert code_of(too_large) == "too_large"
    assert code_of(wrong_type) == "unsupported_type"
    assert code_of(wrong_parameter) == "invalid_request"


def code_of(answer: Answer) -> str:
    status, body = answer
    code = json.loads(body)["error"]["code"]
    assert STATUS[code] == status
    return code


@pytest.fixture
def full(server: Server) -> Iterator[None]:
    """All slots of both gateways are taken by uploads that have paused; they are free again afterwards."""

    def is_rejected() -> bool:
        answer = httpx.post(f"{server.url}/v1/lesion", content=b"x", trust_env=False)
        return answer.status_code == 503

    head = (
        b"POST /v1/lesion HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: 999999\r\n\r\n"
    )
    until = time.monotonic() + TIMEOUT_S
    with ExitStack() as connections:

        def occupy_slot() -> None:
            connection = connections.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            connection.sendall(head + bytes(100_000))  # allows a pause of a minute

        for _ in range(2 * GatewayConfig().max_requests):
            occupy_slot()
        while not is_rejected():
            assert time.monotonic() < until
            occupy_slot()
        yield
    until = time.monotonic() + TIMEOUT_S
    accepted = 0
    while accepted < 20:  # in a row, by both gateways
        assert time.monotonic() < until
        accepted = 0 if is_rejected() else accepted + 1


@pytest.mark.usefixtures("full")
def test_every_client_gets_the_rejection_of_a_full_server(
    request: pytest.FixtureRequest, server_url: str, files: Files
):
    names = [name for name in [*CLIENTS, "go"] if shutil.which(name) or name in CLIENTS]
    clients = [client_of(name, request) for name in names]

    with ThreadPoolExecutor(2) as threads:
        answers = threads.map(
            lambda post: post(f"{server_url}/v1/lesion", files.large, "image/jpeg"), clients
        )

        assert {name: code_of(answer) for name, answer in zip(names, answers, strict=True)} == {
            name: "overloaded" for name in names
        }


@pytest.mark.parametrize("head", ["HTTP/1.0\r\n", "HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"])
def test_a_client_that_sends_all_before_it_reads_gets_the_rejection(server: Server, head: str):
    body = bytes(25_000_000)
    request = f"POST /v1/lesion {head}Content-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"

    with socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT_S) as connection:
        connection.sendall(request.encode() + body)
        with connection.makefile("rb") as answer:
            assert answer.readline().split()[1] == b"415"
            assert b'"unsupported_type"' in answer.read()


def test_bodies_are_read_in_every_form(server_url: str, files: Files):
    photo = files.photo.read_bytes()
    form = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n' + photo + b"\r\n--b--\r\n"
    image = base64.b64encode(photo).decode()
    bodies = [
        (photo, {}),
        (gzip.compress(photo), {"content-encoding": "gzip"}),
        (b"preamble\r\n" + form, {"content-type": "multipart/form-data; boundary=b"}),
        (json.dumps({"image": image}).encode(), {"content-type": "application/json"}),
    ]

    with httpx.Client(base_url=server_url, timeout=TIMEOUT_S, trust_env=False) as http:
        answers = [http.post("/v1/lesion", content=body, headers=headers) for body, headers in bodies]

    assert [answer.status_code for answer in answers] == [200] * 4
    probabilities = [answer.json()["malignant_probability"] for answer in answers]
    assert probabilities == pytest.approx([probabilities[0]] * 4, abs=1e-3)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/", "/v1/models", "/docs", "/favicon.ico"])
def test_head_is_answered_as_get(server_url: str, path: str):
    with httpx.Client(base_url=server_url, timeout=TIMEOUT_S, trust_env=False) as http:
        head, get = http.head(path), http.get(path)

    assert (head.status_code, head.headers.get("content-type")) == (
        get.status_code,
        get.headers.get("content-type"),
    )
    assert head.content == b"" and head.headers.get("content-length") == get.headers.get("content-length")
