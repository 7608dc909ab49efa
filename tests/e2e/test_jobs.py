"""Jobs on the real server: archives and buckets, cancellation, webhooks."""

import base64
import hashlib
import hmac
import json
import re
import socket
import threading
import time
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from models.s3_client import s3_client
from samples.lesion import draw_lesion
from tests.e2e.job_requests import (
    actor_of,
    answered_meanwhile,
    archive_of,
    check_rows,
    create,
    numbered,
    wait,
    wait_for_rows,
)
from tests.e2e.keyed_server import BUCKET, KEY, WEBHOOK_SECRET, KeyedServer
from tests.local_bucket import environment_of, new_bucket
from tests.serve.fakes import jpeg_of
from tests.serve.jobs.archives import tar_of, zip_of

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


def test_a_running_job_is_cancelled_and_others_go_on(
    http: httpx.Client, photos: list[bytes], keyed: KeyedServer
):
    id = create(http, archive_of(photos))
    other = create(http, archive_of(photos, 64))
    wait(http, id, "running")

    with answered_meanwhile(http, photos[0]):
        assert http.delete(f"/v1/jobs/{id}").status_code == 204
        wait(http, other)

    assert http.get(f"/v1/jobs/{id}").status_code == 404
    assert [path for path in keyed.jobs_folder.rglob("*") if id in str(path)] == []
    check_rows(http, other, numbered(64))


def test_decompression_bombs_and_paths_outside_the_archive_get_error_rows(
    http: httpx.Client, photos: list[bytes], keyed: KeyedServer
):
    names = ("a.jpg", "../outside.jpg", "/outside.jpg", "bomb.jpg", "b.jpg")
    contents = (photos[0], photos[0], photos[0], bytes(10_000_000), photos[1])

    id = create(http, zip_of(list(zip(names, contents, strict=True)), zipfile.ZIP_DEFLATED))
    job = wait(http, id)

    rows = [json.loads(line) for line in http.get(f"/v1/jobs/{id}/results").text.splitlines()]
    assert [row["name"] for row in rows] == list(names)
    codes = [row["error"]["code"] if "error" in row else None for row in rows]
    assert codes == [None, "invalid_request", "invalid_request", "too_large", None]
    assert (job["scored"], job["errors"]) == (5, 3)
    assert not list(keyed.jobs_folder.parent.rglob("outside.jpg"))


def test_archives_that_cannot_be_used_are_rejected_and_leave_no_file(
    http: httpx.Client, photos: list[bytes], keyed: KeyedServer
):
    bomb = tar_of({f"{index}.jpg": bytes(10_000_000) for index in range(12)}, mode="w:gz")
    whole = archive_of(photos, 20)
    before = set(keyed.jobs_folder.rglob("*"))

    with answered_meanwhile(http, photos[0]):
        answers = [http.post("/v1/jobs", content=one) for one in (bomb, whole[:-100], b"no archive", b"")]

    codes = [(answer.status_code, answer.json()["error"]["code"]) for answer in answers]
    rejected = [(413, "too_large"), (400, "unreadable_archive"), (415, "unsupported_type")]
    assert codes == [*rejected, (422, "invalid_request")]
    until = time.monotonic() + 30  # photos of the bomb are deleted after the response
    while left := {path for path in set(keyed.jobs_folder.rglob("*")) - before if path.is_file()}:
        assert time.monotonic() < until, left
        time.sleep(0.1)


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


@pytest.mark.parametrize(
    "url",
    [
        "https://10.0.0.1/hook",
        "https://169.254.169.254/latest",
        "https://[::1]/hook",
        "https://[::ffff:10.0.0.1]/hook",
        "file:///etc/passwd",
    ],
)
def test_a_webhook_to_a_private_address_or_a_file_is_rejected(
    http: httpx.Client, photos: list[bytes], url: str
):
    answer = http.post("/v1/jobs", content=archive_of(photos, 1), params={"webhook": url})

    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")
    assert answer.json()["error"]["message"].startswith("query parameter webhook: ")


def test_a_webhook_to_a_dead_host_delays_no_job_and_names_the_problem(
    http: httpx.Client, photos: list[bytes]
):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/hook"
    id = create(http, archive_of(photos, 3), webhook=url)

    wait(http, id)
    until = time.monotonic() + 30
    while not (webhook := http.get(f"/v1/jobs/{id}").json()["webhook"])["attempts"]:
        assert time.monotonic() < until
        time.sleep(0.1)

    check_rows(http, id, numbered(3))
    assert webhook["state"] == "waiting" and "cannot be reached" in webhook["problem"]
    assert http.delete(f"/v1/jobs/{id}").status_code == 204
