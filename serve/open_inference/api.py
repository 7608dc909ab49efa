"""REST routes of the Open Inference Protocol v2."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from serve.config import GatewayConfig
from serve.open_inference import openapi
from serve.open_inference.binary_tensors import HEADER_LENGTH, invalid, json_length
from serve.open_inference.catalog import SelectedModel, ServedModels
from serve.open_inference.messages import InferenceRequest
from serve.open_inference.request_body import read_request
from serve.open_inference.response_body import write_response
from serve.open_inference.statistics import ModelStatistics
from serve.runtime.admission import request_slot
from serve.runtime.decode_pool import DecodePool
from serve.runtime.openapi import API_VERSION
from serve.runtime.readiness import Readiness
from serve.runtime.uploads import read_body

EXTENSIONS = ("binary_tensor_data", "model_repository", "statistics")
MAX_INDEX_BYTES = 10_000
MAX_FAST_BYTES = 10_000_000
MAX_FAST_JSON_BYTES = 100_000
"""Bodies of more bytes, and those with more JSON, are decoded in a thread."""

router = APIRouter(tags=["open inference"])


@dataclass(frozen=True, kw_only=True)
class OpenInferenceService:
    """State of the protocol in one gateway."""

    config: GatewayConfig
    models: ServedModels
    statistics: ModelStatistics
    pool: DecodePool
    readiness: Readiness


@router.post(
    "/v2/models/{model_name}/infer",
    openapi_extra=openapi.INFER_BODY,
    response_class=Response,
    responses=openapi.INFER,
)
@router.post(
    "/v2/models/{model_name}/versions/{model_version}/infer",
    openapi_extra=openapi.INFER_BODY,
    response_class=Response,
    responses=openapi.INFER,
)
async def infer(request: Request, model_name: str, model_version: str | None = None) -> Response:
    """Classify the photos of a request: JSON, or JSON and binary tensor data."""
    service = _service(request)
    found = service.models.find(model_name, model_version)
    task = service.models.tasks[found.task]
    with service.statistics.measure(found.entry) as measurement:
        decoded = await _read_request(request, service, found)
        result = await task.infer(request, found.selector, decoded)
        measurement.entry, measurement.num_photos = result.entry, result.num_photos
        return write_response(decoded, result, task.outputs(result.entry))


@router.get("/v2", responses=openapi.SERVER)
async def server_metadata() -> dict[str, Any]:
    """Return name, version and extensions of the server."""
    return {"name": "skinserve", "version": API_VERSION, "extensions": list(EXTENSIONS)}


@router.get("/v2/health/live")
async def server_live() -> dict[str, bool]:
    """Return 200 while this process is up."""
    return {"live": True}


@router.get("/v2/health/ready", responses=openapi.NOT_READY)
async def server_ready(request: Request) -> JSONResponse:
    """Return 200 when every model has answered a warm-up batch within the last minute, as `/readyz`."""
    return _ready({}, not (await _service(request).readiness.check()).waiting_for)


@router.get("/v2/models/stats", responses=openapi.STATISTICS)
async def all_statistics(request: Request) -> dict[str, Any]:
    """Return requests, photos and time of all models, in the gateway that answers."""
    service = _service(request)
    return {"model_stats": [service.statistics.describe(entry) for _, entry in service.models.entries()]}


@router.get("/v2/models/{model_name}", responses=openapi.METADATA)
@router.get("/v2/models/{model_name}/versions/{model_version}", responses=openapi.METADATA)
async def model_metadata(request: Request, model_name: str, model_version: str | None = None) -> JSONResponse:
    """Return versions, inputs and outputs of a model; `lesion` and `progress` mean the default ones."""
    models = _service(request).models
    return JSONResponse(models.describe(models.find(model_name, model_version)))


@router.get("/v2/models/{model_name}/ready", responses=openapi.MODEL_READY)
@router.get("/v2/models/{model_name}/versions/{model_version}/ready", responses=openapi.MODEL_READY)
async def model_ready(request: Request, model_name: str, model_version: str | None = None) -> JSONResponse:
    """Return 200 when the model answers; one that is not loaded yet is loaded by its first request."""
    service = _service(request)
    found = service.models.find(model_name, model_version)
    waiting_for = (await service.readiness.check()).waiting_for
    is_ready = not set(service.models.tasks[found.task].deployments) & set(waiting_for)
    return _ready({"name": found.entry.name}, is_ready)


@router.get("/v2/models/{model_name}/stats", responses=openapi.STATISTICS)
@router.get("/v2/models/{model_name}/versions/{model_version}/stats", responses=openapi.STATISTICS)
async def model_statistics(
    request: Request, model_name: str, model_version: str | None = None
) -> dict[str, Any]:
    """Return requests, photos and time of one model, in the gateway that answers."""
    service = _service(request)
    entry = service.models.find(model_name, model_version).entry
    return {"model_stats": [service.statistics.describe(entry)]}


@router.post("/v2/repository/index", openapi_extra=openapi.INDEX_BODY, responses=openapi.INDEX)
async def repository_index(request: Request) -> JSONResponse:
    """List all models with their versions and states; the body may be `{"ready": true}`."""
    service = _service(request)
    body = await read_body(request, request_slot(request), max_bytes=MAX_INDEX_BYTES)
    only_ready = _only_ready(body)
    waiting_for = set((await service.readiness.check()).waiting_for)
    index: list[Mapping[str, str]] = []
    for task, entry in service.models.entries():
        missing = sorted(waiting_for & set(service.models.tasks[task].deployments))
        if not (missing and only_ready):
            state = {"state": "UNAVAILABLE", "reason": f"{', '.join(missing)} is starting"}
            ready = {"state": "READY", "reason": ""}
            index.append({"name": entry.name, "version": entry.version, **(state if missing else ready)})
    return JSONResponse(index)


async def _read_request(
    request: Request, service: OpenInferenceService, found: SelectedModel
) -> InferenceRequest:
    slot = request_slot(request)
    body = await read_body(request, slot, max_bytes=service.config.max_request_bytes)
    slot.reserve_bytes(len(body))  # the decoded photos
    header_length = request.headers.get(HEADER_LENGTH)
    task = service.models.tasks[found.task]
    read = partial(
        read_request,
        inputs=task.inputs,
        outputs=task.outputs(found.entry),
        parameters=task.parameters,
    )
    if len(body) <= MAX_FAST_BYTES and json_length(body, header_length) <= MAX_FAST_JSON_BYTES:
        return read(body, header_length)
    return await service.pool.run(read, body, header_length)


def _only_ready(body: bytes) -> bool:
    """Return the member ``ready`` of the body of a repository index."""
    if not body:
        return False
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise invalid(f"the body is not JSON ({error})", 'send {"ready": true} or nothing') from error
    is_ready = content.get("ready", False) if isinstance(content, dict) else None
    if not isinstance(is_ready, bool):
        raise invalid("the body has another form", 'send {"ready": true} or nothing')
    return is_ready


def _ready(fields: Mapping[str, str], is_ready: bool) -> JSONResponse:
    return JSONResponse({**fields, "ready": is_ready}, status_code=200 if is_ready else 503)


def _service(request: Request) -> OpenInferenceService:
    return request.app.state.open_inference
