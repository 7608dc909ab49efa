"""Killed replicas, and slow, broken or hostile clients, do not affect other clients."""

import asyncio
import io
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.conftest import Server, StartServer
from tests.e2e.own_server import own_server

pytestmark = [pytest.mark.server]

NUM_CLIENTS = 5
TIMEOUT_S = 60
REQUEST_TIMEOUT_S = 90


class Load:
    """Closed-loop clients; counts responses by status and errors by type."""

    def __init__(self, server: Server, lesion: bytes, faces: list[bytes]) -> None:
        self.responses: Counter[str] = Counter()
        self._url = server.url
        series = [("files", (f"{index}.jpg", face)) for index, face in enumerate(faces)]
        self._requests = [("/v1/lesion", {"content": lesion}), ("/v1/progress", {"files": series})]
        self._stopped = False

    async def __aenter__(self) -> "Load":
        self._clients = [asyncio.create_task(self._send(turn)) for turn in range(NUM_CLIENTS)]
        await self.wait_for_responses(2 * NUM_CLIENTS)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopped = True
        await asyncio.gather(*self._clients)

    async def wait_for_responses(self, number: int) -> None:
        """Wait for ``number`` more responses."""
        target = self.responses.total() + number
        async with asyncio.timeout(TIMEOUT_S):
            while self.responses.total() < target:
                await asyncio.sleep(0.02)

    async def _send(self, turn: int) -> None:
        async with httpx.AsyncClient(base_url=self._url, timeout=REQUEST_TIMEOUT_S, trust_env=False) as http:
            while not self._stopped:
                turn += 1
                path, body = self._requests[turn % 2]
                try:
                    answer = await http.post(path, **body)
                    self.responses[str(answer.status_code)] += 1
                except httpx.TransportError as error:
                    self.responses[type(error).__name__] += 1


async def wait_for_both_replicas(server: Server, deployment: str, *, without: int = 0) -> None:
    """Wait until a deployment has two replicas."""
    async with asyncio.timeout(TIMEOUT_S):
        while len({one.pid for one in server.replicas(deployment)} - {without}) < 2:
            await asyncio.sleep(0.1)


# --- killed replicas ---


@pytest.fixture
def doubled(
    start_server: StartServer, server_config: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server with two replicas of each deployment."""
    names: list[str] = ["Gateway", "LesionClassifier", "FaceDetector", "ProgressClassifier", "Page"]
    replicas = dict.fromkeys(names, 2)
    folder = tmp_path_factory.mktemp("doubled")
    with own_server(start_server, server_config, folder, replicas=replicas, has_page=True) as server:
        yield server


async def upload_slowly(server: Server, photo: bytes) -> httpx.Response:
    """Upload a photo at 20 kB/s."""

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(photo), 4000):
            yield photo[start : start + 4000]
            await asyncio.sleep(0.2)

    async with httpx.AsyncClient(base_url=server.url, timeout=REQUEST_TIMEOUT_S, trust_env=False) as http:
        return await http.post("/v1/lesion", content=chunks())


async def wait_for_the_page(server: Server) -> None:
    """Wait until the page answers."""
    async with asyncio.timeout(TIMEOUT_S), httpx.AsyncClient(timeout=5, trust_env=False) as http:
        while True:
            with suppress(httpx.TransportError):
                if (await http.get(f"{server.url}/ui/")).status_code == 200:
                    return
            await asyncio.sleep(0.2)


@pytest.mark.slow
async def test_no_request_fails_when_a_replica_of_a_model_or_the_page_is_killed(
    doubled: Server, lesion: bytes, faces: list[bytes]
):
    """HAProxy is replaced when the page is, and the old one completes an upload of 20 s."""
    noise = np.random.default_rng(seed=1).integers(0, 256, (365, 365, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")

    async with Load(doubled, lesion, faces) as load:
        upload = asyncio.create_task(upload_slowly(doubled, file.getvalue()))
        await asyncio.sleep(1)
        doubled.replicas("Page", application="ui")[0].kill()
        for deployment in ("LesionClassifier", "FaceDetector", "ProgressClassifier"):
            await wait_for_both_replicas(doubled, deployment)
            doubled.replicas(deployment)[0].kill()
            await load.wait_for_responses(4 * NUM_CLIENTS)
        uploaded = await upload
    await wait_for_the_page(doubled)

    assert set(load.responses) == {"200"}
    assert uploaded.status_code == 200, uploaded.text


async def test_a_killed_gateway_loses_only_its_requests_in_flight(
    server: Server, lesion: bytes, faces: list[bytes]
):
    await wait_for_both_replicas(server, "Gateway")
    async with Load(server, lesion, faces) as load:
        server.replicas("Gateway")[0].kill()
        await load.wait_for_responses(2 * NUM_CLIENTS)
        lost = load.responses.total() - load.responses["200"]
        await load.wait_for_responses(4 * NUM_CLIENTS)

    assert lost <= NUM_CLIENTS
    assert load.responses.total() - load.responses["200"] == lost


# --- slow, broken and hostile clients ---


def connect(server: Server, data: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT_S)
    connection.sendall(data)
    return connection


def post(length: int, *, headers: bytes = b"") -> bytes:
    return b"POST /v1/lesion HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s\r\n" % (length, headers)


def status_of(connection: socket.socket) -> bytes:
    """The status of the response, empty if the connection was closed without one."""
    answer = b""
    try:
        while b"\r\n" not in answer and (more := connection.recv(1000)):
            answer += more
    except ConnectionResetError:
        pass
    return answer[9:12]


@pytest.fixture
def slow_photo() -> bytes:
    """A PNG that takes more than a second to decode."""
    steps = np.arange(7000, dtype=np.uint16)
    grey = ((steps[:, None] ^ steps[None, :]) % 251).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(np.stack([grey] * 3, axis=2)).save(file, "PNG", compress_level=1)
    assert len(file.getvalue()) < 20_000_000
    return file.getvalue()


@pytest.fixture
def idle(server: Server) -> Iterator[None]:
    """A thousand idle connections."""
    with ExitStack() as connections:
        for _ in range(1000):
            connections.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("idle")
async def test_slow_broken_and_hostile_clients_do_not_affect_others(
    server: Server, lesion: bytes, faces: list[bytes], slow_photo: bytes
):
    async with Load(server, lesion, faces) as load:
        for _ in range(4):  # warm up new replicas
            await asyncio.to_thread(httpx.post, f"{server.url}/v1/lesion", content=slow_photo, timeout=90)
        memory_before = memory(server)
        half_sent = [connect(server, post(10_000) + b"\xff\xd8\xff" + bytes(500)) for _ in range(20)]
        garbage = connect(server, b"\x16\x03\x01\x02\x00\x01" * 50 + b"\r\n\r\n")
        after_request = connect(
            server, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + b"!\0~ " * 500 + b"\r\n\r\n"
        )
        long_header = connect(server, post(0, headers=b"X-Long: " + b"a" * 200_000 + b"\r\n")[:80_000])
        many_headers = connect(server, post(0, headers=b"X-Many: 1\r\n" * 5_000)[:80_000])
        parts = b"".join(
            b'--b\r\nContent-Disposition: form-data; name="files"\r\n\r\nx\r\n' for _ in range(10_000)
        )
        kind = {"content-type": "multipart/form-data; boundary=b"}
        async with httpx.AsyncClient(base_url=server.url, timeout=REQUEST_TIMEOUT_S, trust_env=False) as http:
            slow = [asyncio.create_task(http.post("/v1/lesion", content=slow_photo)) for _ in range(4)]
            many_parts = await http.post("/v1/lesion/batch", content=parts + b"--b--\r\n", headers=kind)
            slow_statuses = [(await one).status_code for one in slow]
        half_sent_statuses = [await asyncio.to_thread(status_of, connection) for connection in half_sent]
        await load.wait_for_responses(NUM_CLIENTS)

    assert set(load.responses) == {"200"}
    assert (many_parts.status_code, many_parts.json()["error"]["code"]) == (422, "too_many_photos")
    assert slow_statuses == [200] * 4
    assert half_sent_statuses == [b"504"] * 20
    assert status_of(garbage) in (b"400", b"")
    assert status_of(after_request) == b"200"
    for bomb in (long_header, many_headers):
        assert status_of(bomb) in (b"400", b"431", b"")
    assert memory(server) - memory_before < 500e6
    for connection in (*half_sent, garbage, after_request, long_header, many_headers):
        connection.close()


def memory(server: Server) -> int:
    return sum(one.memory_info().rss for one in server.replicas("Gateway"))


async def test_a_connection_stays_usable_after_a_rejected_body(server: Server, lesion: bytes):
    async with httpx.AsyncClient(
        base_url=server.url, timeout=TIMEOUT_S, trust_env=False, limits=httpx.Limits(max_connections=1)
    ) as http:
        for _ in range(3):
            rejected = await http.post("/v1/lesion", content=bytes(25_000_000))
            accepted = await http.post("/v1/lesion", content=lesion)

            assert (rejected.status_code, accepted.status_code) == (413, 200)
