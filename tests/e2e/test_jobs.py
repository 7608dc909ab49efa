"""Jobs on the real server: archives and buckets, cancellation, webhooks."""

import base64
import hashlib
import hmac
import json
import re
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from models.s3_client import s3_client
from samples.lesion import draw_lesion
from tests.e2e.job_requests import actor_of, archive_of, check_rows, create, numbered, wait, wait_for_rows
from tests.e2e.keyed_server import BUCKET, KEY, WEBHOOK_SECRET, KeyedServer
from tests.local_bucket import environment_of, new_bucket
from tests.serve.fakes import jpeg_of

pytestmark = [pytest.mark.server]


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


@pytest.fixture
def bucket(keyed: KeyedServer) -> Iterator[str]:
    with environment_of(keyed.s3_url), new_bucket(BUCKET) as address:
        yield address


@pytest.fixture
def http(keyed: KeyedServer) -> Iterator[httpx.Client]:
    headers = {"x-api-key": KEY}
    with httpx.Client(base_url=keyed.server.url, timeout=60, trust_env=False, headers=headers) as client:
        yield client


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
        s3_client().put_object(Bucket=BUCKET, Key=f"photos/a/{name}", Body=photos[index % 8])
    s3_client().put_object(Bucket=BUCKET, Key="other/a.jpg", Body=photos[0])

    created = http.post("/v1/jobs", json={"source": f"{bucket}/photos/a"})
    forbidden = http.post("/v1/jobs", json={"source": f"{bucket}/other"})
    wait(http, created.json()["id"])

    check_rows(http, created.json()["id"], names)
    assert forbidden.status_code == 403


def test_a_running_job_is_cancelled(http: httpx.Client, photos: list[bytes], keyed: KeyedServer):
    id = create(http, archive_of(photos))
    wait(http, id, "running")

    assert http.delete(f"/v1/jobs/{id}").status_code == 204

    assert http.get(f"/v1/jobs/{id}").status_code == 404
    assert [path for path in keyed.jobs_folder.rglob("*") if id in str(path)] == []


def test_a_killed_actor_loses_no_photo(http: httpx.Client, photos: list[bytes], keyed: KeyedServer):
    id = create(http, archive_of(photos, 200))
    wait_for_rows(keyed.jobs_folder, id)

    actor_of(keyed.server).kill()
    job = wait(http, id)

    check_rows(http, id, numbered(200))
    assert (job["scored"], job["errors"]) == (200, 0)


def test_jobs_and_their_photos_are_counted_for_prometheus(
    http: httpx.Client, photos: list[bytes], keyed: KeyedServer
):
    wait(http, create(http, archive_of(photos, 3)))
    [port_file] = keyed.server.home.glob("ray/session_latest/metrics_export_port_*")
    address = f"http://127.0.0.1:{port_file.read_text().strip()}/metrics"

    def is_exported(found: dict[str, dict[str, float]]) -> bool:
        return (
            found["ended"].get("done", 0) >= 1
            and found["photos"].get("scored", 0) >= 3
            and found["unfinished"] == {"queued": 0, "running": 0}
        )

    until = time.monotonic() + 60  # every process exports every ten seconds
    while not is_exported(found := _job_metrics(address)):
        assert time.monotonic() < until, found
        time.sleep(0.5)


def _job_metrics(address: str) -> defaultdict[str, dict[str, float]]:
    """Return values by the metric's name after ``job_`` or ``jobs_``, and by state or result."""
    found: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for line in httpx.get(address, trust_env=False).text.splitlines():
        match = re.match(r"ray_skinserve_jobs?_(\w+?)(?:_total)?\{(.*)\} (\S+)$", line)
        if match and 'application="api"' in match[2]:
            label = re.search(r'(?:state|result)="(\w+)"', match[2])
            assert label, line
            found[match[1]][label[1]] = float(match[3])
    return found


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
    digest = base64.b64encode(hmac.new(WEBHOOK_SECRET, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{digest}"
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    assert json.loads(body)["data"]["id"] == id
