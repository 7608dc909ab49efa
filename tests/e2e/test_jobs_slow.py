"""Jobs over a long time: memory after many jobs, and a bucket that goes away."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from moto.server import ThreadedMotoServer

from models.s3_client import reset_client, s3_client
from samples.lesion import draw_lesion
from tests.conftest import Server, StartServer
from tests.e2e.own_server import own_server
from tests.e2e.test_jobs import actor_of, archive_of, check_rows, create, numbered, wait
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
