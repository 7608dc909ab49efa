"""Jobs on the real server: archives and sources, kills, restarts and webhooks."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from samples.lesion import draw_lesion
from tests.conftest import Server, StartServer
from tests.e2e.own_server import own_server
from tests.serve.fakes import jpeg_of
from tests.serve.jobs.archives import zip_of

pytestmark = [pytest.mark.server]

WAIT_S = 90


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("jobs")


@pytest.fixture(scope="module")
def photos() -> list[bytes]:
    return [jpeg_of(draw_lesion(seed=seed).resize((96, 96))) for seed in range(8)]


@pytest.fixture(scope="module")
def jobs_server(start_server: StartServer, server_config: Path, folder: Path, photos: list[bytes]) -> Iterator[Server]:
    def change(api: dict[str, Any], page: dict[str, Any]) -> None:
        api["gateway"]["jobs"] = {"folder": str(folder / "store")}

    with own_server(start_server, server_config, folder, change) as server:
        yield server


@pytest.fixture
def http(jobs_server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=jobs_server.url, timeout=60, trust_env=False) as client:
        yield client


def wait(http: httpx.Client, id: str, state: str = "done") -> dict[str, Any]:
    until = time.monotonic() + WAIT_S
    while True:
        job = http.get(f"/v1/jobs/{id}").json()
        if job.get("state") == state:
            return job
        assert time.monotonic() < until, job
        time.sleep(0.2)


def rows_of(http: httpx.Client, id: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in http.get(f"/v1/jobs/{id}/results").text.splitlines()]


def test_an_archive_is_scored(http: httpx.Client, photos: list[bytes]):
    archive = zip_of({f"{number}.jpg": photos[number % 8] for number in range(200)})

    began = time.monotonic()
    created = http.post("/v1/jobs", content=archive)
    assert created.status_code == 202, created.text
    job = wait(http, created.json()["id"])
    print(time.monotonic() - began, job)

    rows = rows_of(http, job["id"])
    assert [row["name"] for row in rows] == [f"{number}.jpg" for number in range(200)]
