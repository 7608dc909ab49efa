import base64
import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from serve.config import GatewayConfig
from serve.gateway import create_app
from serve.runtime.errors import STATUS
from serve.schemas import LesionAnswer
from tests.serve.fakes import LESION_PX, FakeStages, no_face, picture, uploads

OPENAPI = Path(__file__).with_name("openapi.json")
JPEG = {"content-type": "image/jpeg"}


def error_of(response) -> tuple[int, str, str]:
    error = response.json()["error"]
    assert set(response.json()) == {"error"} and set(error) == {"code", "message"}
    assert response.headers["x-request-id"]
    assert response.status_code == STATUS[error["code"]]
    return response.status_code, error["code"], error["message"]


def png_bomb(width: int, height: int) -> bytes:
    """A small PNG whose header promises many pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


# --- POST /v1/lesion ---


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_lesion_takes_a_raw_body(client: TestClient, stages: FakeStages, kind: str):
    headers = {"content-type": f"image/{kind.lower()}"}

    answer = client.post("/v1/lesion", content=picture(kind), headers=headers)

    assert answer.status_code == 200
    assert answer.json()["verdict"] == "benign"
    assert answer.json()["diagnosis"] == {"name": "Nevus", "group": "benign", "probability": 0.7}
    assert answer.json()["heatmap_png"] is None
    assert "not a medical device" in answer.json()["disclaimer"]
    assert stages.spots[0].image_HWC.shape == (LESION_PX, LESION_PX, 3)


def test_lesion_takes_a_form_and_a_body_without_type(client: TestClient):
    photo = picture()

    form = client.post("/v1/lesion", files=uploads(photo, field_name="file"))
    raw = client.post("/v1/lesion", content=photo, headers={"content-type": "application/octet-stream"})
    bare = client.post("/v1/lesion", content=photo)

    assert form.status_code == raw.status_code == bare.status_code == 200
    assert form.json() == raw.json() == bare.json()


def test_lesion_explains_with_a_png_of_224_px_when_asked(client: TestClient):
    answer = client.post("/v1/lesion?explain=true", content=picture(), headers=JPEG)

    heatmap = Image.open(io.BytesIO(base64.b64decode(answer.json()["heatmap_png"])))
    assert (heatmap.format, heatmap.mode, heatmap.size) == ("PNG", "RGBA", (224, 224))


def test_top_k_bounds_the_list(client: TestClient):
    one = client.post("/v1/lesion?top_k=1", content=picture(), headers=JPEG)
    many = client.post("/v1/lesion?top_k=27", content=picture(), headers=JPEG)

    assert len(one.json()["diagnoses"]) == 1
    assert len(many.json()["diagnoses"]) == 2


@pytest.mark.parametrize(
    ("body", "kind", "status", "code", "match"),
    [
        (b"", "image/jpeg", 422, "invalid_request", "empty"),
        (picture()[:200], "image/jpeg", 400, "unreadable_image", "damaged"),
        (b"<!doctype html><html></html>", "image/jpeg", 415, "unsupported_type", "web page"),
        (b"\0\0\0\x18ftypheic" + bytes(50), "image/heic", 415, "unsupported_type", "HEIC"),
        (picture(), "text/html", 415, "unsupported_type", "text/html"),
        (picture(), "application/x-www-form-urlencoded", 415, "unsupported_type", "image/jpeg"),
        (png_bomb(10_000, 6_000), "image/png", 413, "too_many_pixels", "60.0 megapixels"),
        (bytes(20_000_001), "image/jpeg", 413, "too_large", "20 MB"),
    ],
)
def test_lesion_refuses(client: TestClient, body: bytes, kind: str, status: int, code: str, match: str):
    answer = client.post("/v1/lesion", content=body, headers={"content-type": kind})

    found = error_of(answer)
    assert found[:2] == (status, code)
    assert match in found[2]


@pytest.mark.parametrize("query", ["top_k=0", "top_k=28", "top_k=many", "explain=perhaps"])
def test_lesion_refuses_bad_parameters(client: TestClient, query: str):
    status, code, message = error_of(client.post(f"/v1/lesion?{query}", content=picture(), headers=JPEG))

    assert (status, code) == (422, "invalid_request")
    assert f"query parameter {query.split('=')[0]} is {query.split('=')[1]!r}: must be" in message


def test_lesion_refuses_a_form_without_a_file_or_with_two(client: TestClient):
    wrong = client.post("/v1/lesion", files=uploads(picture(), field_name="photo"))
    none = client.post(
        "/v1/lesion", content=b"--b--\r\n", headers={"content-type": "multipart/form-data; boundary=b"}
    )
    two = client.post("/v1/lesion", files=uploads(picture(), picture(), field_name="file"))

    assert error_of(wrong)[:2] == (422, "invalid_request") and "'photo'" in error_of(wrong)[2]
    assert error_of(none)[:2] == (422, "invalid_request")
    assert error_of(two)[:2] == (422, "too_many_photos")


# --- POST /v1/lesion/batch ---


def test_batch_answers_a_line_for_each_file_and_one_bad_file_is_one_line(client: TestClient):
    photos = [picture(), b"<html>", bytes(20_000_001), picture("PNG")]

    answer = client.post("/v1/lesion/batch", files=uploads(*photos))

    assert answer.headers["content-type"] == "application/x-ndjson"
    lines = {line["index"]: line for line in map(json.loads, answer.text.splitlines())}
    assert sorted(lines) == [0, 1, 2, 3]
    assert lines[0]["result"]["verdict"] == lines[3]["result"]["verdict"] == "benign"
    assert set(lines[0]["result"]) == set(LesionAnswer.model_fields)
    assert lines[1]["error"]["code"] == "unsupported_type"
    assert lines[2]["error"]["code"] == "too_large"
    assert all(("result" in line) != ("error" in line) for line in lines.values())


def test_batch_refuses_too_many_and_none(client: TestClient):
    many = client.post("/v1/lesion/batch", files=uploads(*[b"x"] * 65))
    none = client.post(
        "/v1/lesion/batch", content=b"--b--\r\n", headers={"content-type": "multipart/form-data; boundary=b"}
    )
    raw = client.post("/v1/lesion/batch", content=picture(), headers=JPEG)

    assert error_of(many)[:2] == (422, "too_many_photos")
    assert error_of(none)[:2] == (422, "invalid_request")
    assert error_of(raw)[:2] == (415, "unsupported_type")


def test_batch_answers_our_own_failure_in_its_line(client: TestClient, stages: FakeStages):
    stages.failure = ZeroDivisionError("a secret")

    answer = client.post("/v1/lesion/batch", files=uploads(picture()), headers={"x-request-id": "abc"})

    error = json.loads(answer.text)["error"]
    assert error["code"] == "internal"
    assert "abc" in error["message"] and "secret" not in answer.text


# --- POST /v1/progress ---


def test_progress_counts_the_photos_as_sent_in_order_without_any_time(client: TestClient):
    answer = client.post("/v1/progress", files=uploads(picture(), no_face(), picture())).json()

    assert answer["order"] == "upload"
    assert answer["verdict"] == "improved"
    assert answer["improved_probability"] + answer["worsened_probability"] == pytest.approx(1)
    assert [photo["index"] for photo in answer["photos"]] == [0, 1, 2]
    assert [photo["face"] is None for photo in answer["photos"]] == [False, True, False]
    assert [photo["improved_probability_so_far"] for photo in answer["photos"]] == [None, None, 0.75]


def test_progress_orders_by_taken_at(client: TestClient, stages: FakeStages):
    photos = [picture(colour=(shade, 0, 0)) for shade in (30, 10, 20)]
    times = {"taken_at": ["2026-03-03", "2026-03-01T08:00:00", "2026-03-02T23:59"]}

    answer = client.post("/v1/progress", files=uploads(*photos), data=times).json()

    assert answer["order"] == "taken_at"
    assert [photo["index"] for photo in answer["photos"]] == [1, 2, 0]
    assert answer["photos"][0]["taken_at"] == "2026-03-01T08:00:00"
    shades = stages.series[0].crop_THWC.mean((1, 2, 3))
    assert list(np.argsort(shades)) == [0, 1, 2]


def test_progress_orders_by_exif_only_when_every_photo_has_it(client: TestClient):
    old, new = picture(taken="2025:01:01 10:00:00"), picture(taken="2025:06:01 10:00:00")

    all_dated = client.post("/v1/progress", files=uploads(new, old)).json()
    some_dated = client.post("/v1/progress", files=uploads(new, old, picture())).json()

    assert (all_dated["order"], [photo["index"] for photo in all_dated["photos"]]) == ("exif", [1, 0])
    assert (some_dated["order"], [photo["index"] for photo in some_dated["photos"]]) == ("upload", [0, 1, 2])
    assert some_dated["photos"][0]["taken_at"] == "2025-06-01T10:00:00"


@pytest.mark.parametrize(
    ("photos", "times", "code", "match"),
    [
        ([picture()], [], "too_few_photos", "1 photo came"),
        ([picture()] * 31, [], "too_many_photos", "30"),
        ([no_face()] * 3, [], "no_face", "any of the 3 photos"),
        ([no_face(), picture()], [], "too_few_photos", "only one shows a face"),
        ([picture()] * 2, ["2026-01-01"], "bad_timestamp", "1 taken_at came with 2 photos"),
        ([picture()] * 2, ["2026-01-01", "monday"], "bad_timestamp", r"taken_at[1] is 'monday'"),
        ([picture()] * 2, ["2026-01-01", "2026-01-01T10:00Z"], "bad_timestamp", "time zone"),
        ([picture()] * 2, ["2026-01-01"] * 31, "invalid_request", "taken_at"),
    ],
)
def test_progress_refuses(client: TestClient, photos: list[bytes], times: list[str], code: str, match: str):
    answer = client.post("/v1/progress", files=uploads(*photos), data={"taken_at": times})

    status, found, message = error_of(answer)
    assert (status, found) == (422, code)
    assert match in message


def test_progress_names_the_photo_that_cannot_be_used(client: TestClient):
    answer = client.post("/v1/progress", files=uploads(picture(), b"<html>", picture()))

    assert error_of(answer)[:2] == (415, "unsupported_type")
    assert error_of(answer)[2].startswith("photo 2: ")


def test_progress_refuses_a_raw_photo(client: TestClient):
    assert error_of(client.post("/v1/progress", content=picture(), headers=JPEG))[1] == "unsupported_type"


# --- POST /predict ---


def test_predict_answers_skincredibles_request(client: TestClient):
    red = [[[200, 10, 10]] * 30] * 20
    mixed = [[[200.4, 10.0, 10.0]] * 15] * 40

    answer = client.post("/predict", json={"img": [red, mixed]})

    assert answer.status_code == 200
    assert answer.json()["prob_class"] == 1
    assert answer.json()["positive_prob"] == pytest.approx(2 / 3)
    assert answer.json()["negative_prob"] + answer.json()["positive_prob"] == pytest.approx(1)


def test_predict_goes_through_the_face_stage_with_the_same_errors(client: TestClient):
    green, red = [[[0, 200, 0]] * 4] * 4, [[[200, 0, 0]] * 4] * 4

    assert error_of(client.post("/predict", json={"img": [green, green]}))[1] == "no_face"
    assert error_of(client.post("/predict", json={"img": [green, red]}))[1] == "too_few_photos"
    assert error_of(client.post("/predict", json={"img": [red]}))[1] == "too_few_photos"
    assert error_of(client.post("/predict", json={"img": [red] * 31}))[1] == "too_many_photos"


def test_predict_refuses_another_type_and_a_body_over_its_limit(client: TestClient):
    wrong = client.post("/predict", content=picture(), headers=JPEG)
    large = client.post("/predict", content=bytes(50_000_001), headers={"content-type": "application/json"})

    assert error_of(wrong)[:2] == (415, "unsupported_type")
    assert error_of(large)[:2] == (413, "too_large")


# --- the rest ---


def test_root_leads_to_the_page(client: TestClient):
    answer = client.get("/")

    assert (answer.status_code, answer.headers["location"]) == (307, "/ui/")


def test_unknown_paths_and_methods_are_refused_in_json(client: TestClient):
    assert error_of(client.get("/v1/nothing"))[:2] == (404, "not_found")
    assert error_of(client.post("/v1/lesion/"))[:2] == (404, "not_found")
    wrong_method = client.get("/v1/lesion")
    assert error_of(wrong_method)[:2] == (405, "method_not_allowed")
    assert wrong_method.headers["allow"] == "POST"


def test_our_own_failure_is_answered_with_the_request_id_and_without_a_traceback(
    client: TestClient, stages: FakeStages, caplog: pytest.LogCaptureFixture
):
    stages.failure = ZeroDivisionError("a secret")

    answer = client.post("/v1/lesion", content=picture(), headers={"x-request-id": "abc.1"})

    status, code, message = error_of(answer)
    assert (status, code) == (500, "internal")
    assert "abc.1" in message and "secret" not in answer.text
    assert "request abc.1 failed" in caplog.text


def test_healthz_and_readyz(client: TestClient, stages: FakeStages):
    stages.dead = {"face"}

    assert client.get("/healthz").json()["status"] == "ok"
    not_yet = client.get("/readyz")
    stages.dead = set()
    ready = client.get("/readyz")

    assert (not_yet.status_code, not_yet.json()) == (503, {"status": "starting", "waiting_for": ["face"]})
    assert (ready.status_code, ready.json()) == (200, {"status": "ok", "waiting_for": []})


def test_models_lists_what_is_loaded(client: TestClient):
    assert client.get("/v1/models").json()["models"] == []


def test_docs_load_nothing_from_another_host(client: TestClient):
    page = client.get("/docs")

    assert "https://" not in page.text and "http://" not in page.text
    for path in ("/docs/static/swagger-ui-bundle.js", "/docs/static/swagger-ui.css", "/openapi.json"):
        assert path in page.text
        assert client.get(path).status_code == 200
    assert "default-src 'self'" in page.headers["content-security-policy"]


def test_openapi_is_frozen(client: TestClient):
    """After a wanted change delete ``openapi.json``, run this twice and look at the diff."""
    found = client.get("/openapi.json").json()

    if not OPENAPI.exists():
        OPENAPI.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        pytest.fail(f"{OPENAPI.name} was missing and has been written; look at it, run the test again")
    assert found == json.loads(OPENAPI.read_text(encoding="utf-8")), (
        "the HTTP contract changed; see the docstring"
    )


def test_every_error_of_the_table_is_described(client: TestClient):
    paths = client.get("/openapi.json").json()["paths"]

    described = {
        code
        for path in paths.values()
        for operation in path.values()
        for response in operation["responses"].values()
        for code in response.get("content", {}).get("application/json", {}).get("examples", {})
    }
    assert described == set(STATUS) - {"not_found", "method_not_allowed"}


def test_limits_are_settings():
    config = GatewayConfig(max_photo_bytes=100, max_batch_photos=2)
    client = TestClient(create_app(config, FakeStages(), lesion_px=LESION_PX))

    assert error_of(client.post("/v1/lesion", content=picture(), headers=JPEG))[1] == "too_large"
    assert error_of(client.post("/v1/lesion/batch", files=uploads(b"", b"", b"")))[1] == "too_many_photos"
