"""The real server, end to end: Ray Serve behind HAProxy, real deployments, photos drawn by code.

The error ``internal`` is tested in tests/serve: no request should cause it here.
"""

import asyncio
import base64
import io
import itertools
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from PIL import Image

from samples.lesion import draw_lesion
from serve.config import GatewayConfig
from serve.lesion.schemas import LesionAnswer
from serve.progress.schemas import PredictAnswer, ProgressAnswer
from serve.runtime.errors import STATUS
from serve.schemas import Models
from tests.conftest import Server
from tests.serve.fakes import jpeg_of
from tests.serve.feedback_fields import WITH_PHOTO

pytestmark = [pytest.mark.server]

NUM_CLIENTS = 20
LOAD_S = 3
TIMEOUT_S = 30
MARKER = "Mrs-Secret-Patient"


def files(*photos: bytes, name: str = "files") -> list[tuple[str, tuple[str, bytes]]]:
    return [(name, (f"{index}.jpg", photo)) for index, photo in enumerate(photos)]


def check_error(answer: httpx.Response, code: str) -> str:
    assert answer.headers.get_list("x-request-id") != []
    assert len(answer.headers.get_list("x-request-id")) == 1
    assert answer.json()["error"]["code"] == code
    assert answer.status_code == STATUS[code]  # pyright: ignore[reportArgumentType]
    return answer.json()["error"]["message"]


# --- responses ---


def test_a_lesion_photo_is_accepted_as_body_and_form_and_returns_a_grad_cam_map(
    http: httpx.Client, lesion: bytes
):
    raw = http.post("/v1/lesion?explain=true", content=lesion, headers={"content-type": "image/jpeg"})
    form = http.post("/v1/lesion", files=files(lesion, name="file"))

    answer = LesionAnswer.model_validate_json(raw.content)
    assert answer.heatmap_png is not None
    assert Image.open(io.BytesIO(base64.b64decode(answer.heatmap_png))).size == (224, 224)
    assert form.json()["malignant_probability"] == pytest.approx(answer.malignant_probability, abs=1e-4)


def test_a_batch_returns_one_line_per_file(http: httpx.Client, lesion: bytes):
    photos = [lesion, b"<html>", jpeg_of(draw_lesion(seed=4)), lesion[:1000]]

    answer = http.post("/v1/lesion/batch", files=files(*photos))

    lines = {line["index"]: line for line in map(json.loads, answer.text.splitlines())}
    assert sorted(lines) == [0, 1, 2, 3]
    LesionAnswer.model_validate(lines[0]["result"])
    LesionAnswer.model_validate(lines[2]["result"])
    assert [lines[index]["error"]["code"] for index in (1, 3)] == ["unsupported_type", "unreadable_image"]


def test_a_series_is_returned_in_time_order_with_a_face_in_each_photo(http: httpx.Client, faces: list[bytes]):
    times = {"taken_at": ["2026-03-01", "2026-05-01", "2026-04-01"]}

    answer = ProgressAnswer.model_validate_json(
        http.post("/v1/progress", files=files(*faces), data=times).content
    )

    assert (answer.order, [photo.index for photo in answer.photos]) == ("taken_at", [0, 2, 1])
    assert all(photo.face is not None for photo in answer.photos)


def test_predict_returns_its_schema(http: httpx.Client, faces: list[bytes]):
    frames = [list(map(list, rows_of(face))) for face in faces[:2]]

    PredictAnswer.model_validate_json(http.post("/predict", json={"img": frames}).content)


def rows_of(photo: bytes) -> list[list[list[int]]]:
    import numpy as np

    return np.asarray(Image.open(io.BytesIO(photo)).resize((240, 240))).tolist()


def test_feedback_is_stored_and_deleted_by_its_receipt(http: httpx.Client, lesion: bytes):
    stored = http.post("/v1/feedback", data=WITH_PHOTO, files={"photo": lesion})
    receipts = [stored.json()["receipt"]] * 2

    assert (stored.status_code, stored.json()["photo_stored"]) == (201, True)
    assert [http.delete(f"/v1/feedback/{receipt}").status_code for receipt in receipts] == [204, 404]


def test_models_docs_health_and_page_are_served(http: httpx.Client):
    models = Models.model_validate_json(http.get("/v1/models").content)

    assert {model.kind for model in models.models} == {"lesion", "progress"}
    assert http.get("/healthz").json() == {"status": "ok", "waiting_for": []}
    assert http.get("/readyz").json() == {"status": "ok", "waiting_for": []}
    assert "swagger-ui" in http.get("/docs").text
    assert http.get("/openapi.json").status_code == 200
    assert http.get("/").headers["location"] == "ui/"
    assert http.get("/ui/").status_code == 200


# --- rejections ---


def bomb() -> bytes:
    """A PNG of 60 megapixels in a few dozen kilobytes."""
    file = io.BytesIO()
    Image.new("1", (10_000, 6_000)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("body", "kind", "code"),
    [
        (bytes(30_000_000), "image/jpeg", "too_large"),
        (bomb(), "image/png", "too_many_pixels"),
        (b"<!doctype html><title>not a photo</title>" * 10, "image/jpeg", "unsupported_type"),
        (b"\xff\xd8\xff\xe0" + bytes(500), "image/jpeg", "unreadable_image"),
        (b"", "image/jpeg", "invalid_request"),
    ],
    ids=["30-MB", "60-megapixels", "html", "damaged", "empty"],
)
def test_an_invalid_photo_is_rejected_at_once_and_the_next_one_is_accepted(
    http: httpx.Client, lesion: bytes, body: bytes, kind: str, code: str
):
    start = time.monotonic()
    rejected = http.post("/v1/lesion", content=body, headers={"content-type": kind})
    seconds = time.monotonic() - start
    after = http.post("/v1/lesion", content=lesion)

    check_error(rejected, code)
    assert seconds < 10
    assert after.status_code == 200


def test_a_large_body_is_rejected_with_and_without_content_length(http: httpx.Client, lesion: bytes):
    with_length = http.post("/v1/lesion", files=files(bytes(30_000_000), name="file"))
    streamed = http.post(
        "/v1/lesion",
        content=(bytes(1_000_000) for _ in range(30)),
        headers={"content-type": "image/jpeg"},
    )

    check_error(with_length, "too_large")
    check_error(streamed, "too_large")
    assert http.post("/v1/lesion", content=lesion).status_code == 200


def test_series_are_rejected_for_each_reason(http: httpx.Client, lesion: bytes, faces: list[bytes]):
    def send(*photos: bytes, times: list[str] | None = None) -> httpx.Response:
        return http.post("/v1/progress", files=files(*photos), data={"taken_at": times or []})

    check_error(send(faces[0]), "too_few_photos")
    one_face = send(faces[0], lesion).json()
    assert (one_face["verdict"], one_face["reasons"][0]["code"]) == ("inconclusive", "few_faces")
    check_error(send(lesion, lesion), "no_face")
    check_error(send(*[lesion] * 31), "too_many_photos")
    check_error(send(*faces, times=["2026-01-01", "monday", "2026-01-02"]), "bad_timestamp")
    check_error(send(faces[0], b"<html>"), "unsupported_type")


def test_wrong_paths_methods_and_parameters_are_rejected(http: httpx.Client, lesion: bytes):
    check_error(http.get("/v1/nothing"), "not_found")
    check_error(http.get("/v1/lesion"), "method_not_allowed")
    check_error(http.post("/v1/lesion?top_k=0", content=lesion), "invalid_request")
    check_error(http.post("/predict", json={"img": [[1, 2], [3]]}), "invalid_request")
    check_error(
        http.post("/v1/lesion", content=lesion, headers={"x-request-timeout-seconds": "x"}), "invalid_request"
    )


def test_a_missed_deadline_returns_our_error_not_serves(http: httpx.Client, faces: list[bytes]):
    for seconds in ("0.001", "0.05"):
        late = http.post(
            "/v1/progress", files=files(*faces * 8), headers={"x-request-timeout-seconds": seconds}
        )
        check_error(late, "deadline_exceeded")


def test_a_request_id_is_returned_once(http: httpx.Client):
    answer = http.get("/healthz", headers={"x-request-id": "case-7"})

    assert answer.headers.get_list("x-request-id") == ["case-7"]


def test_requests_over_the_limit_are_rejected_at_once_until_clients_disconnect(
    http: httpx.Client, server: Server, lesion: bytes
):
    head = (
        b"POST /v1/lesion HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: 999\r\n\r\n123"
    )

    def occupy_slot() -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", server.port))
        connection.sendall(head)
        return connection

    connections = [occupy_slot() for _ in range(2 * GatewayConfig().max_requests)]  # of two gateways
    until = time.monotonic() + TIMEOUT_S
    while (rejected := http.post("/v1/lesion", content=lesion)).status_code != 503:
        assert time.monotonic() < until, "the server accepts more than its limit"
        connections.append(occupy_slot())  # this request may have taken the slot of one of them
    healthy = http.get("/healthz")
    for connection in connections:
        connection.close()
    while (again := http.post("/v1/lesion", content=lesion)).status_code == 503:
        assert time.monotonic() < until, "a disconnect releases no slot"
        time.sleep(0.1)

    check_error(rejected, "overloaded")
    assert rejected.headers["retry-after"].isdigit()
    assert rejected.elapsed.total_seconds() < 5
    assert healthy.status_code == 200
    assert again.status_code == 200


# --- privacy ---


def test_photos_are_neither_written_to_disk_nor_logged(
    http: httpx.Client, server: Server, faces: list[bytes]
):
    marked = [insert_comment(photo, MARKER + "!" * 60_000) for photo in faces]
    named = [("files", (f"{MARKER}.jpg", photo)) for photo in marked]
    broken = [("files", (f"{MARKER}.jpg", b"<html>" + MARKER.encode()))]

    assert http.post("/v1/progress", files=named).status_code == 200
    assert http.post("/v1/lesion/batch", files=named * 10).status_code == 200
    check_error(http.post("/v1/progress", files=named + broken), "unsupported_type")

    found = [
        path for path in server.home.rglob("*") if path.is_file() and MARKER.encode() in path.read_bytes()
    ]
    assert found == []


def insert_comment(photo: bytes, text: str) -> bytes:
    """Insert a comment segment after the first two bytes of a JPEG."""
    return photo[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text.encode() + photo[2:]


def test_http_listens_on_this_machine_only(server: Server):
    listening = {
        (connection.laddr.ip, connection.laddr.port)
        for process in psutil.Process(server.process.pid).children(recursive=True)
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }

    assert ("127.0.0.1", server.port) in listening
    assert not {ip for ip, port in listening if port == server.port} - {"127.0.0.1"}


# --- concurrency ---


async def test_twenty_concurrent_clients_get_correct_responses_or_503(
    server_url: str, lesion: bytes, faces: list[bytes]
):
    other = jpeg_of(draw_lesion(seed=9))
    requests: list[tuple[str, dict[str, Any], Callable[[Any], float]]] = [
        ("/v1/lesion", {"content": lesion}, lambda answer: answer["malignant_probability"]),
        ("/v1/lesion?explain=true", {"content": other}, lambda answer: answer["malignant_probability"]),
        ("/v1/progress", {"files": files(*faces)}, lambda answer: answer["improved_probability"]),
        ("/v1/lesion", {"content": b"<html>"}, lambda answer: answer["error"]["code"]),
    ]
    async with httpx.AsyncClient(
        base_url=server_url, timeout=90, trust_env=False, limits=httpx.Limits(max_connections=NUM_CLIENTS)
    ) as client:
        expected = [value((await client.post(path, **body)).json()) for path, body, value in requests]
        until = time.monotonic() + LOAD_S
        statuses: list[int] = []

        async def work(first: int) -> None:
            for turn in itertools.count(first):
                path, body, value = requests[turn % len(requests)]
                answer = await client.post(path, **body)
                statuses.append(answer.status_code)
                if answer.status_code == 503:
                    assert answer.json()["error"]["code"] == "overloaded"
                else:
                    assert value(answer.json()) == pytest.approx(expected[turn % len(requests)], abs=1e-3)
                if time.monotonic() > until:
                    return

        await asyncio.gather(*(work(index) for index in range(NUM_CLIENTS)))

    assert set(statuses) <= {200, 415, 503}
    print(f"\n{len(statuses) / LOAD_S:.1f} requests/s, {statuses.count(503)} rejected")


@pytest.mark.slow
def test_ctrl_c_during_the_start_leaves_nothing(start_server: Callable[[], Server]):
    early = start_server()
    early.wait_for("starting Ray Serve")
    early.stop()
    at_once = start_server()
    at_once.wait_for("starting on")
    at_once.stop()
    assert isinstance(at_once.log, Path)
