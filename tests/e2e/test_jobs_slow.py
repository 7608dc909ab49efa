"""Jobs on servers of their own: kills, a restart, memory after many jobs, and a bucket that goes away."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from moto.server import ThreadedMotoServer

from models.s3_client import reset_client, s3_client
from samples.lesion import draw_lesion
from tests.conftest import Server, StartServer
from tests.e2e.job_requests import (
    NUM_PHOTOS,
    WAIT_S,
    actor_of,
    answered_meanwhile,
    archive_of,
    check_rows,
    create,
    numbered,
    wait,
    wait_for_rows,
)
from tests.e2e.own_server import own_server
from tests.local_bucket import environment_of
from tests.serve.fakes import jpeg_of

pytestmark = [pytest.mark.server, pytest.mark.slow]

NUM_JOBS, EARLY = 500, 50
PHOTOS_A_JOB = 4
MAX_GROWTH = 1.05
AWAY_S = 15


@pytest.fixture(scope="module")
def photos() -> list[bytes]:
    return [jpeg_of(draw_lesion(seed=seed).resize((96, 96))) for seed in range(8)]


class Servers:
    """A server with two gateways, which hold the networks, that can be restarted with the same jobs."""

    def __init__(self, start: Callable[[], AbstractContextManager[Server]], folder: Path) -> None:
        self.folder = folder
        """Of the jobs."""
        self._start = start
        self._running = ExitStack()
        self.current = self._running.enter_context(start())

    def restart(self) -> None:
        """Stop the server and start another one."""
        self.stop()
        self.current = self._running.enter_context(self._start())

    def kill_server_process(self) -> None:
        """Kill the process that has started Ray; start another server when all others have ended."""
        [driver] = [
            one for one in self.current.processes() if "serve.runtime.server_process" in one.cmdline()
        ]
        driver.kill()
        assert self.current.process.wait(WAIT_S) == 1
        self._running.pop_all()
        self.current = self._running.enter_context(self._start())

    def stop(self) -> None:
        """Stop the server."""
        self._running.close()


@pytest.fixture(scope="module")
def servers(
    start_server: StartServer, server_config: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("jobs-server")

    def change(api: dict[str, Any], page: dict[str, Any]) -> None:
        api["gateway"]["jobs"] = {"folder": str(folder / "store")}

    found = Servers(
        lambda: own_server(
            *(start_server, server_config, folder, change), replicas={"Gateway": 2}, in_gateway=True
        ),
        folder / "store",
    )
    yield found
    found.stop()


@pytest.fixture
def http(servers: Servers) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=servers.current.url, timeout=60, trust_env=False) as client:
        yield client


def test_killed_gateways_and_a_killed_actor_lose_no_photo(
    http: httpx.Client, servers: Servers, photos: list[bytes]
):
    server = servers.current
    for kill in ("actor", "gateway", "both"):
        id = create(http, archive_of(photos))
        assert wait_for_rows(servers.folder, id) < NUM_PHOTOS / 32 - 2
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


@pytest.mark.parametrize("is_killed", [True, False], ids=["its process is killed", "Ctrl-C"])
def test_a_restarted_server_resumes(
    http: httpx.Client, servers: Servers, photos: list[bytes], is_killed: bool
):
    id = create(http, archive_of(photos, 2 * NUM_PHOTOS))
    wait_for_rows(servers.folder, id)

    if is_killed:
        servers.kill_server_process()
    else:
        servers.restart()
    job = httpx.get(f"{servers.current.url}/v1/jobs/{id}", trust_env=False, timeout=60).json()
    assert job["state"] in ("queued", "running")

    with httpx.Client(base_url=servers.current.url, timeout=60, trust_env=False) as client:
        job = wait(client, id)
        check_rows(client, id, numbered(2 * NUM_PHOTOS))
    assert (job["scored"], job["errors"]) == (2 * NUM_PHOTOS, 0)


@pytest.fixture
def server(start_server: StartServer, server_config: Path, tmp_path: Path) -> Iterator[Server]:
    def change(api: dict[str, Any], page: dict[str, Any]) -> None:
        api["gateway"]["jobs"] = {"folder": str(tmp_path / "store")}

    with own_server(start_server, server_config, tmp_path, change) as one:
        yield one


def memory_of(process: psutil.Process) -> float:
    """Return the unique memory of a process, MB."""
    return process.memory_full_info().uss / 1e6


def test_500_jobs_leave_no_memory_behind(server: Server, photos: list[bytes]):
    archive = archive_of(photos, PHOTOS_A_JOB)
    early: dict[str, float] = {}
    found: dict[str, float] = {}
    with httpx.Client(base_url=server.url, timeout=60, trust_env=False) as http:
        for number in range(1, NUM_JOBS + 1):
            wait(http, create(http, archive))
            if number in (EARLY, NUM_JOBS):
                time.sleep(5)
                processes = {"actor": actor_of(server), "gateway": server.replicas("Gateway")[0]}
                found = {name: memory_of(process) for name, process in processes.items()}
                early = early or found
                print(number, found)

    assert {name: found[name] <= MAX_GROWTH * early[name] for name in found} == dict.fromkeys(found, True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_rejects_new_jobs_and_stops_nothing_else(
    start_server: StartServer, server_config: Path, tmp_path: Path, photos: list[bytes], small_disk: Path
):
    def change(api: dict[str, Any], page: dict[str, Any]) -> None:
        api["gateway"]["jobs"] = {"folder": str(small_disk / "store")}

    with (
        own_server(start_server, server_config, tmp_path, change) as server,
        httpx.Client(base_url=server.url, timeout=60, trust_env=False) as http,
    ):
        id = create(http, archive_of(photos))
        wait_for_rows(small_disk / "store", id)
        with answered_meanwhile(http, photos[0]):
            with suppress(OSError), (small_disk / "filler").open("wb", buffering=0) as filler:
                while True:
                    filler.write(bytes(4096))
            rejected = http.post("/v1/jobs", content=archive_of(photos))
            time.sleep(3)
            waiting = http.get(f"/v1/jobs/{id}").json()
        (small_disk / "filler").unlink()
        job = wait(http, id)
        check_rows(http, id, numbered())

    assert (rejected.status_code, rejected.json()["error"]["code"]) == (503, "jobs_unavailable")
    assert rejected.headers["retry-after"]
    assert waiting["state"] == "running" and (job["scored"], job["errors"]) == (NUM_PHOTOS, 0)


def test_a_bucket_that_goes_away_loses_no_photo(
    start_server: StartServer, server_config: Path, tmp_path: Path, photos: list[bytes]
):
    """Both the store of jobs and the source are in the bucket; its server stops for some seconds."""
    bucket = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    bucket.start()
    host, port = bucket.get_host_and_port()

    def change(api: dict[str, Any], page: dict[str, Any]) -> None:
        api["gateway"]["jobs"] = {"folder": "s3://clinic/jobs", "sources": ["s3://clinic/photos"]}

    with environment_of(f"http://{host}:{port}"):
        s3_client().create_bucket(Bucket="clinic")
        names = [f"{index:04}.jpg" for index in range(400)]
        for index, name in enumerate(names):
            s3_client().put_object(Bucket="clinic", Key=f"photos/{name}", Body=photos[index % 8])
        with (
            own_server(start_server, server_config, tmp_path, change) as server,
            httpx.Client(base_url=server.url, timeout=60, trust_env=False) as http,
        ):
            listed = http.post("/v1/jobs", json={"source": "s3://clinic/photos"}).json()["id"]
            uploaded = create(http, archive_of(photos, 400))
            wait(http, listed, "running", scored=1)
            bucket.stop()
            time.sleep(AWAY_S)
            live = http.post("/v1/lesion", content=photos[0])
            bucket = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
            bucket.start()
            jobs = [wait(http, id) for id in (listed, uploaded)]
            check_rows(http, listed, names)
            check_rows(http, uploaded, numbered(400))
            assert http.delete(f"/v1/jobs/{uploaded}").status_code == 204
        left = s3_client().list_objects_v2(Bucket="clinic", Prefix="jobs/").get("Contents", [])
        bucket.stop()
    reset_client()

    assert live.status_code == 200
    assert [(job["scored"], job["errors"]) for job in jobs] == [(400, 0)] * 2
    assert {item["Key"].split("/")[1] for item in left} == {"records", "results"}
    assert not [item["Key"] for item in left if uploaded in item["Key"]]
