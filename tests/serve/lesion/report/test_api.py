import asyncio
import base64
import io
import json
import logging
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from fhir.resources.R4B.diagnosticreport import DiagnosticReport
from PIL import Image
from pypdf import PdfReader

from serve.lesion.report import api
from serve.lesion.report.answer_body import MAX_ANSWER_BYTES
from tests.random_checkpoints import random_meta
from tests.serve.fakes import FakeModels, error_of, fake_app, picture, uploads
from tests.serve.lesion.report.random_answers import usable

FHIR = {"accept": "application/fhir+json"}
PDF = {"accept": "application/pdf"}


def black() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 48)).save(file, "PNG")
    return file.getvalue()


def text_of(response: Any) -> str:
    (page,) = PdfReader(io.BytesIO(response.content)).pages
    return " ".join(page.extract_text().split())


def fhir_of(response: Any) -> Any:
    return DiagnosticReport.model_validate_json(response.content)


def client_of(models: FakeModels, **sections: dict[str, Any]) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(fake_app(models, **sections))
    return httpx.AsyncClient(transport=transport, base_url="http://server")


def test_a_photo_is_reported_as_pdf_by_default(client: TestClient):
    headers = {"x-request-id": "one.two-3"}

    response = client.post("/v1/report", content=picture(), headers=headers)

    assert response.status_code == 200 and response.headers["content-type"] == "application/pdf"
    assert response.headers["content-disposition"] == 'inline; filename="report-one.two-3.pdf"'
    assert response.headers["vary"] == "Accept" and response.headers["cache-control"] == "no-store"
    assert "Verdict: benign" in text_of(response) and "one.two-3" in text_of(response)
    assert len(PdfReader(io.BytesIO(response.content)).pages[0].images) == 1


def test_every_body_of_the_lesion_route_is_reported(client: TestClient):
    photo = picture()
    responses = [
        client.post("/v1/report", content=photo, headers=FHIR),
        client.post("/v1/report", files=uploads(photo, field_name="file"), headers=FHIR),
        client.post("/v1/report", json={"image": base64.b64encode(photo).decode()}, headers=FHIR),
        client.post("/v1/report", json=client.post("/v1/lesion", content=photo).json(), headers=FHIR),
    ]

    reports = list(map(fhir_of, responses))
    assert {one.headers["content-type"] for one in responses} == {"application/fhir+json"}
    assert len({one.contained[1].model_dump_json() for one in reports}) == 1
    assert ["did not check" in one.conclusion for one in reports] == [False, False, False, True]


def test_the_model_is_named_with_its_hash_unless_the_server_does_not_have_it(models: FakeModels):
    meta = random_meta(
        "lesion", name="lesion-fake", version="1", architecture={}, input_px=32, weights_sha256="f" * 64
    )
    client = TestClient(fake_app(models, meta))
    answer = client.post("/v1/lesion", content=picture()).json()
    other = answer | {"model": {"name": "lesion-other", "version": "1"}}

    known, unknown = (fhir_of(client.post("/v1/report", json=one, headers=FHIR)) for one in (answer, other))

    assert [one.value for one in known.contained[-1].version] == ["1", "f" * 64]
    assert [one.value for one in unknown.contained[-1].version] == ["1"]


def test_a_photo_that_is_not_usable_is_reported_as_such(client: TestClient, models: FakeModels):
    response = client.post("/v1/report", content=black(), headers=PDF)

    assert "No verdict: the photo is not usable" in text_of(response) and models.num_calls == 0


def test_parameters_apply_to_photos_and_not_to_answers(client: TestClient):
    top = client.post("/v1/report?top_k=1", content=picture(), headers=FHIR).json()
    box = client.post("/v1/report?box=10,10,40,40", content=picture(), headers=FHIR)
    outside = error_of(client.post("/v1/report?box=10,10,400,40", content=picture(), headers=FHIR))
    answer = error_of(client.post("/v1/report?top_k=1", json=usable(0.1).model_dump(), headers=FHIR))

    assert len(top["contained"]) == 4 and box.status_code == 200
    assert outside[:2] == (422, "invalid_request")
    assert answer[:2] == (422, "invalid_request") and "'top_k' applies to photos" in answer[2]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "the body is no answer: Invalid JSON"),
        (b"[]", "the body is no answer: Input should be an object"),
        (b'{"verdict": "benign"}', "the body is no answer: model: Field required"),
        (usable(0.1).model_dump_json().replace("benign", "malignant").encode(), "the body is no answer: "),
        (usable(0.1).model_dump_json().replace("Nevus", "x" * 500).encode(), "a name of more than"),
        (b'{"image": 1}', "'image' is not a string"),
        (b"{" + b" " * MAX_ANSWER_BYTES + b"}", "the key 'image' is missing"),
    ],
)
def test_a_body_that_is_no_answer_is_rejected(client: TestClient, body: bytes, message: str):
    headers = FHIR | {"content-type": "application/json"}

    found = error_of(client.post("/v1/report", content=body, headers=headers))

    assert found[:2] == (422, "invalid_request") and message in found[2]


def test_other_media_types_are_rejected_before_the_photo_is_read(client: TestClient, models: FakeModels):
    found = error_of(client.post("/v1/report", content=picture(), headers={"accept": "text/html"}))

    assert found[:2] == (406, "not_acceptable") and models.num_calls == 0


def test_without_weasyprint_the_default_is_fhir_and_pdf_an_error(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
):
    async def missing() -> str:
        return "the package weasyprint is not installed"

    monkeypatch.setattr(api, "missing_library", missing)

    default = client.post("/v1/report", content=picture())
    pdf = error_of(client.post("/v1/report", content=picture(), headers=PDF))

    assert default.headers["content-type"] == "application/fhir+json"
    assert pdf[:2] == (501, "pdf_unavailable") and "extra report" in pdf[2]


def test_bad_photos_are_rejected_as_by_the_lesion_route(client: TestClient):
    for body in (b"", b"<html>", picture()[:200]):
        lesion, report = (
            client.post(path, content=body, headers=PDF) for path in ("/v1/lesion", "/v1/report")
        )
        assert error_of(lesion) == error_of(report)


async def test_reports_over_the_limit_are_rejected_before_the_body_is_read():
    models = FakeModels(delay_s=1)
    client = client_of(models, lesion={"max_reports": 1})
    working = asyncio.create_task(client.post("/v1/report", content=picture(), headers=FHIR))
    while not models.num_calls:
        await asyncio.sleep(0.01)

    rejected = await client.post("/v1/report", content=b"<html>", headers=FHIR)

    assert error_of(rejected)[:2] == (503, "overloaded") and "retry-after" in rejected.headers
    assert (await working).status_code == 200


async def test_a_deadline_ends_a_report():
    client = client_of(FakeModels(delay_s=5))
    headers = FHIR | {"x-request-timeout-seconds": "0.1"}

    response = await client.post("/v1/report", content=picture(), headers=headers)

    assert error_of(response)[:2] == (504, "deadline_exceeded")


async def test_photos_count_in_the_quota_and_answers_do_not():
    client = client_of(FakeModels(), gateway={"client_limit": {"photos_per_day": 2}})

    codes = [
        (await client.post("/v1/report", json=usable(0.1).model_dump(mode="json"), headers=FHIR)).status_code,
        *[(await client.post("/v1/report", content=picture(), headers=FHIR)).status_code for _ in range(3)],
    ]

    assert codes == [200, 200, 200, 429]


async def test_a_report_is_in_the_audit_log_and_no_photo_in_any_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    app = fake_app(FakeModels(), gateway={"audit_log": str(tmp_path / "audit.log")})
    named = [("file", ("<script>Mrs-Secret-Patient.jpg", picture(), "image/jpeg"))]
    transport = httpx.ASGITransport(app)
    with caplog.at_level(logging.DEBUG):
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            response = await client.post("/v1/report", files=named, headers=PDF)
    app.state.audit_log.close()

    line = json.loads((tmp_path / "audit.log").read_text())
    assert (line["route"], line["status"]) == ("/v1/report", 200)
    assert line["request_id"] == response.headers["x-request-id"]
    assert line["request_id"] in text_of(response)
    assert "Secret-Patient" not in text_of(response) and "Secret-Patient" not in caplog.text
