"""Reports of the real server."""

import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psutil
import pytest
from fhir.resources.R4B.diagnosticreport import DiagnosticReport
from pypdf import PdfReader

from serve.lesion.schemas import LesionAnswer
from serve.schemas import DISCLAIMER, Models
from tests.conftest import Server

pytestmark = [pytest.mark.server]

NUM_REPORTS = 6


def text_of(response: httpx.Response) -> str:
    (page,) = PdfReader(io.BytesIO(response.content)).pages
    return " ".join(page.extract_text().split())


def has_pango(process: psutil.Process) -> bool:
    return any("libpango-1.0" in mapped.path for mapped in process.memory_maps())


def test_a_photo_and_its_answer_are_reported_as_pdf_and_fhir(http: httpx.Client, lesion: bytes):
    answer = http.post("/v1/lesion", content=lesion)
    model = Models.model_validate_json(http.get("/v1/models").content).models[0]

    pdf = http.post("/v1/report", content=lesion)
    fhir = http.post("/v1/report", json=answer.json(), headers={"accept": "application/fhir+json"})

    found = LesionAnswer.model_validate_json(answer.content)
    assert pdf.headers["content-type"] == "application/pdf" and pdf.headers["x-request-id"] in text_of(pdf)
    assert f"{model.name}, version {model.version}" in text_of(pdf) and DISCLAIMER in text_of(pdf)
    assert (f"Verdict: {found.verdict}" in text_of(pdf)) == found.usable
    report: Any = DiagnosticReport.model_validate_json(fhir.content)
    assert report.contained[0].valueCodeableConcept.text == found.verdict
    assert report.contained[-1].version[1].value == model.sha256


def test_reports_at_once_share_one_helper_and_leave_the_gateway_free(
    server: Server, http: httpx.Client, lesion: bytes
):
    def report(_: int) -> int:
        return http.post("/v1/report", content=lesion, headers={"accept": "application/pdf"}).status_code

    with ThreadPoolExecutor(NUM_REPORTS) as clients:
        codes = clients.map(report, range(NUM_REPORTS))
        health = [http.get("/healthz").status_code for _ in range(20)]

    assert list(codes) == [200] * NUM_REPORTS and health == [200] * 20
    gateways = server.replicas("Gateway")
    renderers = [sum(map(has_pango, gateway.children())) for gateway in gateways]
    assert max(renderers) == 1 and not any(map(has_pango, gateways))
