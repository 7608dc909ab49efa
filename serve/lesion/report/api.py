"""Add the route of reports to the router of the lesion task."""

from datetime import UTC, datetime
from functools import partial

import orjson
from fastapi import Request
from fastapi.responses import Response

from models.images import PhotoError, PhotoLimits
from models.limits import DEFAULT_TOP_K
from serve.lesion.api import LesionBox, LesionService, TopK, lesion_options, lesion_service, router
from serve.lesion.report import openapi
from serve.lesion.report.answer_body import read_json
from serve.lesion.report.content import Report, new_report
from serve.lesion.report.fhir import fhir_report
from serve.lesion.report.media_types import FHIR, PDF, MediaType, preferred_types
from serve.lesion.report.pdf import missing_library, pdf_report, report_photo
from serve.lesion.schemas import LesionAnswer
from serve.runtime.admission import REQUEST_ID_HEADER, request_slot
from serve.runtime.errors import ApiError
from serve.runtime.json_photo import max_json_bytes
from serve.runtime.model_catalog import ModelSelector
from serve.runtime.rate_limits import count_photos
from serve.runtime.uploads import media_type, read_body, read_photo


@router.post(
    "/v1/report",
    openapi_extra=openapi.REPORT_BODY,
    response_class=Response,
    responses=openapi.REPORT_RESPONSES,
)
async def report(
    request: Request, top_k: TopK = DEFAULT_TOP_K, box: LesionBox = None, model: ModelSelector = None
) -> Response:
    """Write a report on a photo, or on an answer of `POST /v1/lesion` (JSON): PDF or FHIR R4B by `Accept`."""
    service = lesion_service(request)
    options = lesion_options(request, explain=False, top_k=top_k, box=box, model=model)
    kind = await _choose_type(request)
    content = await _read(request, service)
    with service.report_limiter.acquire():
        photo = None
        if isinstance(content, LesionAnswer):
            _reject_parameters(request)
            answer = content
        else:
            await count_photos(request, 1)
            answer = await service.classify(content, options)
            photo = await _photo(service, content) if kind == PDF else None
        written = _new_report(request, service, answer, is_classified_here=answer is not content)
        body = orjson.dumps(fhir_report(written)) if kind == FHIR else await pdf_report(written, photo)
    return Response(body, media_type=kind, headers=_headers(kind, written.request_id))


async def _choose_type(request: Request) -> MediaType:
    """Return the media type of the response.

    Raises:
        ApiError: ``not_acceptable`` or ``pdf_unavailable``.
    """
    accept = ", ".join(request.headers.getlist("accept"))
    types = preferred_types(accept)
    if not types:
        raise ApiError(
            "not_acceptable",
            f"the header Accept is {accept[:60]!r}, a report is {PDF} or {FHIR}; accept one of them",
        )
    if types[0] == FHIR:
        return FHIR
    missing = await missing_library()
    if missing is None:
        return PDF
    if FHIR in types:
        return FHIR
    raise ApiError(
        "pdf_unavailable",
        f"this server cannot write PDF: {missing[:100]}; send Accept: {FHIR}, or ask the operator to install "
        "the extra report (docs/operations.md, Reports)",
    )


async def _read(request: Request, service: LesionService) -> bytes | PhotoError | LesionAnswer:
    """Read the photo or the answer of a request."""
    slot, max_bytes = request_slot(request), service.gateway.max_photo_bytes
    if media_type(request) != "application/json":
        return await read_photo(request, slot, service.pool, max_bytes=max_bytes)
    body = await read_body(request, slot, max_bytes=max_json_bytes(max_bytes))
    slot.reserve_bytes(len(body))  # the decoded photo, and text on the way
    return await service.pool.run(read_json, body, max_bytes=max_bytes)


def _reject_parameters(request: Request) -> None:
    if request.query_params:
        name = next(iter(request.query_params))
        raise ApiError(
            "invalid_request",
            f"query parameter {name!r} applies to photos, the body is an answer; leave it out, or send the "
            "photo",
        )


async def _photo(service: LesionService, file: bytes | PhotoError) -> bytes:
    gateway = service.gateway
    limits = PhotoLimits(max_bytes=gateway.max_photo_bytes, max_pixels=gateway.max_photo_pixels)
    return await service.pool.decode(partial(report_photo, limits=limits), file)


def _new_report(
    request: Request, service: LesionService, answer: LesionAnswer, *, is_classified_here: bool
) -> Report:
    found = service.catalog.find(f"{answer.model.name}@{answer.model.version}")
    return new_report(
        answer,
        model_sha256=found.meta.weights_sha256 if found else None,
        is_classified_here=is_classified_here,
        created_at=datetime.now(UTC),
        request_id=request.headers[REQUEST_ID_HEADER],
    )


def _headers(kind: MediaType, request_id: str) -> dict[str, str]:
    if kind == FHIR:
        return {"Vary": "Accept"}
    return {"Vary": "Accept", "Content-Disposition": f'inline; filename="report-{request_id}.pdf"'}
