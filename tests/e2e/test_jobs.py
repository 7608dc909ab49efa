"""Jobs on the real server: archives and buckets, kills, restarts, webhooks."""

import base64
import hashlib
import hmac
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from models.s3_client import s3_client
from samples.lesion import draw_lesion
from tests.conftest import Server, StartServer
from tests.e2e.own_server import own_server
from tests.local_bucket import new_bucket, s3_server
from tests.serve.fakes import jpeg_of
from tests.serve.jobs.archives import zip_of

pytestmark = [pytest.mark.server]

WAIT_S = 120
NUM_PHOTOS = 600
SECRET = bytes(range(32))


class Receiver(BaseHTTPRequestHandler):
    """Record webhooks; the first one gets a 500."""

    received: list[tuple[dict[str, str], bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.received.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(500 if len(self.received) == 1 else 204)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture(scope="module")
def photos() -> list[bytes]:
    return [jpeg_of(draw_lesion(seed=seed).resize((96, 96))) for seed in range(8)]


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_server(), new_bucket("clinic") as address:
        yield address


@pytest.fixture(scope="module")
def settings(bucket: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Settings of jobs in a folder, with the bucket as a source."""
    folder = tmp_path_factory.mktemp("jobs")
    (folder / "secret").write_text("whsec_" + base64.b64encode(SECRET).decode())
    return {
        "folder": str(folder / "store"),
        "sources": [f"{bucket}/photos"],
        "webhook_secret_file": str(folder / "secret"),
        "webhook_networks": ["127.0.0.0/8"],
    }


class Servers:
    """A server with two gateways that can be restarted with the same jobs."""

    def __init__(self, start: Callable[[], AbstractContextManager[Server]]) -> None:
        self._start = start
        self._running = ExitStack()
        self.current = self._running.enter_context(start())

    def restart(self) -> None:
        """Stop the server and start another one."""
        self.stop()
        self.current = self._running.enter_context(self._start())

    def stop(self) -> None:
        """Stop the server."""
        self._running.close()


@pytest.fixture(scope="module")
def servers(
    start_server: StartServer,
    server_config: Path,
    settings: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Servers]:
    def change(api: dict[str, Any], page: dict[str, Any]) -> None:
        api["gateway"]["jobs"] = settings

    folder = tmp_path_factory.mktemp("jobs-server")
    found = Servers(lambda: own_server(start_server, server_config, folder, change, replicas={"Gateway": 2}))
    yield found
    found.stop()


@pytest.fixture
def http(servers: Servers) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=servers.current.url, timeout=60, trust_env=False) as client:
        yield client


def archive_of(photos: list[bytes], number: int = NUM_PHOTOS) -> bytes:
    return zip_of({f"{index}.jpg": photos[index % len(photos)] for index in range(number)})


def create(http: httpx.Client, archive: bytes, **params: str) -> str:
    answer = http.post("/v1/jobs", content=archive, params=params)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def wait(http: httpx.Client, id: str, state: str = "done", scored: int = 0) -> dict[str, Any]:
    """Wait for a state and a number of photos; errors of a gateway that was killed are ignored."""
    until = time.monotonic() + WAIT_S
    while True:
        found: Any = None
        try:
            found = http.get(f"/v1/jobs/{id}")
            job = found.json()
            if job["state"] == state and job["scored"] >= scored:
                return job
        except (httpx.HTTPError, ValueError, KeyError):
            pass
        assert time.monotonic() < until, found and found.text
        time.sleep(0.1)


def wait_for_rows(settings: dict[str, Any], id: str) -> int:
    """Wait until a part of a job has rows; return the number of such parts."""
    until = time.monotonic() + WAIT_S
    while not (found := list(Path(settings["folder"], "results", id).glob("*.ndjson"))):
        assert time.monotonic() < until
        time.sleep(0.02)
    return len(found)


def check_rows(http: httpx.Client, id: str, names: list[str]) -> list[dict[str, Any]]:
    """Check that every photo has one row with a result."""
    until = time.monotonic() + WAIT_S
    while True:  # a gateway that was just killed may get the first requests
        try:
            answer = http.get(f"/v1/jobs/{id}/results")
            if answer.status_code == 200:
                break
        except httpx.HTTPError:
            pass
        assert time.monotonic() < until
        time.sleep(0.2)
    rows = [json.loads(line) for line in answer.text.splitlines()]
    assert [row["name"] for row in rows] == names
    assert [row for row in rows if "error" in row] == []
    return rows


def numbered(number: int = NUM_PHOTOS) -> list[str]:
    return [f"{index}.jpg" for index in range(number)]


def actor_of(server: Server) -> psutil.Process:
    """Return the process of the actor of jobs."""
    [actor] = [one for one in server.processes() if "JobsActor" in "".join(one.cmdline()[:1])]
    return actor


def test_an_archive_is_scored_as_single_photos_are(http: httpx.Client, photos: list[bytes]):
    id = create(http, archive_of(photos, 70))
    job = wait(http, id)

    rows = check_rows(http, id, numbered(70))
    single = http.post("/v1/lesion", content=photos[3]).json()
    assert rows[3]["result"].keys() == single.keys()
    probability = rows[3]["result"]["malignant_probability"]
    assert probability == pytest.approx(single["malignant_probability"], abs=1e-4)
    assert (job["photos"], job["scored"], job["errors"]) == (70, 70, 0)


def test_the_photos_of_a_bucket_are_scored(http: httpx.Client, photos: list[bytes], bucket: str):
    names = [f"{index:03}.jpg" for index in range(40)]
    for index, name in enumerate(names):
        s3_client().put_object(Bucket="clinic", Key=f"photos/a/{name}", Body=photos[index % 8])
    s3_client().put_object(Bucket="clinic", Key="other/a.jpg", Body=photos[0])

    created = http.post("/v1/jobs", json={"source": f"{bucket}/photos/a"})
    forbidden = http.post("/v1/jobs", json={"source": f"{bucket}/other"})
    wait(http, created.json()["id"])

    check_rows(http, created.json()["id"], names)
    assert forbidden.status_code == 403


def test_a_running_job_is_cancelled(http: httpx.Client, photos: list[bytes], settings: dict[str, Any]):
    id = create(http, archive_of(photos))
    wait(http, id, "running")

    assert http.delete(f"/v1/jobs/{id}").status_code == 204

    assert http.get(f"/v1/jobs/{id}").status_code == 404
    assert [path for path in Path(settings["folder"]).rglob("*") if id in str(path)] == []


def test_killed_gateways_and_a_killed_actor_lose_no_photo(
    http: httpx.Client, servers: Servers, photos: list[bytes], settings: dict[str, Any]
):
    server = servers.current
    for kill in ("actor", "gateway", "both"):
        id = create(http, archive_of(photos))
        assert wait_for_rows(settings, id) < NUM_PHOTOS / 32 - 2
        gateway = server.replicas("Gateway")[0]
        victims = {"actor": [actor_of(server)], "gateway": [gateway]}
        victims["both"] = victims["actor"] + victims["gateway"]
        for victim in victims[kill]:
            victim.send_signal(signal.SIGKILL)
        began = time.monotonic()
        job = wait(http, id)
        print(f"{kill}: done {time.monotonic() - began:.1f} s after the kill")
        check_rows(http, id, numbered())
        assert (job["scored"], job["errors"]) == (NUM_PHOTOS, 0)
        until = time.monotonic() + WAIT_S
        while len(server.replicas("Gateway")) < 2:
            assert time.monotonic() < until
            time.sleep(0.2)


def test_a_webhook_is_signed_and_repeated(http: httpx.Client, photos: list[bytes]):
    received: list[tuple[dict[str, str], bytes]] = []
    handler = type("Handler", (Receiver,), {"received": received})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as receiver:
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        id = create(http, archive_of(photos, 3), webhook=f"http://127.0.0.1:{receiver.server_port}/hook")
        wait(http, id)
        until = time.monotonic() + 30
        while http.get(f"/v1/jobs/{id}").json()["webhook"]["state"] != "delivered":
            assert time.monotonic() < until
            time.sleep(0.2)
        receiver.shutdown()

    assert len(received) == 2 and received[0][1] == received[1][1]
    headers, body = received[1]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = base64.b64encode(hmac.new(SECRET, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{digest}"
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    assert json.loads(body)["data"]["id"] == id


@pytest.mark.slow
def test_a_restarted_server_resumes(
    http: httpx.Client, servers: Servers, photos: list[bytes], settings: dict[str, Any]
):
    """The last test of this module: it replaces the server."""
    id = create(http, archive_of(photos, 2 * NUM_PHOTOS))
    wait_for_rows(settings, id)

    servers.stop()
    num_parts = len(list(Path(settings["folder"], "results", id).iterdir()))
    servers.restart()

    with httpx.Client(base_url=servers.current.url, timeout=60, trust_env=False) as client:
        job = wait(client, id)
        check_rows(client, id, numbered(2 * NUM_PHOTOS))
    assert 0 < num_parts < 2 * NUM_PHOTOS / 32 and job["scored"] == 2 * NUM_PHOTOS
