"""Create jobs of photos on a real server, wait for them and check their rows."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.conftest import Server
from tests.serve.jobs.archives import zip_of

WAIT_S = 120
NUM_PHOTOS = 600


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


def wait_for_rows(folder: Path, id: str) -> int:
    """Wait until a part of a job has rows; return the number of such parts."""
    until = time.monotonic() + WAIT_S
    while not (found := list((folder / "results" / id).glob("*.ndjson"))):
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


@contextmanager
def answered_meanwhile(http: httpx.Client, photo: bytes) -> Iterator[None]:
    """Classify a photo again and again, and check that every request is answered."""
    stop = threading.Event()

    def classify() -> list[int]:
        statuses = [http.post("/v1/lesion", content=photo).status_code]
        while not stop.wait(0.2):
            statuses.append(http.post("/v1/lesion", content=photo).status_code)
        return statuses

    with ThreadPoolExecutor(1) as thread:
        statuses = thread.submit(classify)
        try:
            yield
        finally:
            stop.set()
        assert set(statuses.result()) == {200}


def numbered(number: int = NUM_PHOTOS) -> list[str]:
    return [f"{index}.jpg" for index in range(number)]


def actor_of(server: Server) -> psutil.Process:
    """Return the process of the actor of jobs."""
    [actor] = [one for one in server.processes() if "JobsActor" in "".join(one.cmdline()[:1])]
    return actor
