"""Routes of jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import ValidationError
from starlette.types import ASGIApp, Receive, Scope, Send

from models.limits import MAX_FORM_OVERHEAD_BYTES
from serve.jobs import openapi
from serve.jobs.client import Jobs
from serve.jobs.records import JobRecord
from serve.jobs.schemas import JobList, JobSource, JobStatus
from serve.jobs.scorer import JobTask, PartScorer
from serve.jobs.service import JobsService
from serve.jobs.webhook import read_secret
from serve.runtime.admission import request_slot
from serve.runtime.callers import caller_of
from serve.runtime.errors import ApiError
from serve.runtime.model_catalog import ModelSelector, resolve_model
from serve.runtime.uploads import media_type, read_body
from serve.task import GatewayContext

OFF = "this server runs no jobs; its operator can set gateway.jobs"
STATE_HEADER = "X-Job-State"
MAX_LISTED = 1000
_NDJSON_HEADERS = {"X-Accel-Buffering": "no", "Cache-Control": "no-store"}

Task = Annotated[str | None, Query(description="default: the first task with jobs", examples=["lesion"])]
Webhook = Annotated[
    str | None,
    Query(description="https URL that gets a signed POST at the end of the job", max_length=2000),
]
Limit = Annotated[int, Query(ge=1, le=MAX_LISTED, description="number of jobs in the response")]

router = APIRouter(tags=["jobs"])


@router.post(
    "/v1/jobs", status_code=202, openapi_extra=openapi.CREATE_BODY, responses=openapi.CREATE_RESPONSES
)
async def create_job(
    request: Request,
    response: Response,
    task: Task = None,
    model: ModelSelector = None,
    webhook: Webhook = None,
) -> JobStatus:
    """Score many photos in the background: those of an archive, or of a folder or bucket (JSON)."""
    service, rules = _service(request), request.app.state.job_tasks
    task = next(iter(rules)) if task is None else task
    if task not in rules:
        message = f"query parameter task is {task[:40]!r}: must be {' or '.join(rules)}"
        raise ApiError("invalid_request", message)
    entry = resolve_model(request.app.state.catalogs, task, model)
    delivery = service.check_webhook(webhook)
    if media_type(request) == "multipart/form-data":
        message = "the body is a form; send the archive itself as the body: curl -T photos.zip"
        raise ApiError("unsupported_type", message)
    source = await _read_source(request) if media_type(request) == "application/json" else None
    record = await service.create(request, task=task, model=entry.selector, source=source, webhook=delivery)
    status = _status(request, record, service)
    response.headers["Location"] = status.results.removesuffix("/results")
    return status


@router.get("/v1/jobs", responses=openapi.LIST_RESPONSES)
async def list_jobs(request: Request, limit: Limit = 100) -> JobList:
    """List the jobs of the caller, the newest first."""
    service, caller = _service(request), caller_of(request.scope)
    name = None if "admin" in caller.roles else caller.name
    records = await service.jobs.records(name, limit)
    return JobList(jobs=[_status(request, record, service) for record in records])


@router.get("/v1/jobs/{id}", responses=openapi.GET_RESPONSES)
async def get_job(request: Request, id: str) -> JobStatus:
    """Return state, counts and estimated end of a job."""
    service = _service(request)
    return _status(request, await service.read(id, caller_of(request.scope)), service)


@router.get("/v1/jobs/{id}/results", response_class=StreamingResponse, responses=openapi.RESULTS_RESPONSES)
async def get_results(request: Request, id: str) -> StreamingResponse:
    """Return the rows of a job, one line of JSON per photo; an unfinished job has the rows so far."""
    service = _service(request)
    record = await service.read(id, caller_of(request.scope))
    headers = {**_NDJSON_HEADERS, STATE_HEADER: record.state}
    return StreamingResponse(_rows(service, record), media_type="application/x-ndjson", headers=headers)


@router.delete("/v1/jobs/{id}", status_code=204, responses=openapi.DELETE_RESPONSES)
async def delete_job(request: Request, id: str) -> Response:
    """Cancel a job; delete its photos, results and state."""
    await _service(request).delete(id, caller_of(request.scope))
    return Response(status_code=204)


class JobsLifespanMiddleware:
    """Keep the actor of jobs alive while the gateway runs."""

    def __init__(self, app: ASGIApp, jobs: Jobs) -> None:
        self._app = app
        self._jobs = jobs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on one request; start and end with the application."""
        if scope["type"] != "lifespan":
            return await self._app(scope, receive, send)
        self._jobs.start()
        try:
            await self._app(scope, receive, send)
        finally:
            await self._jobs.close()


def create_service(
    context: GatewayContext, rules: Mapping[str, JobTask], services: Mapping[str, Any], jobs: Jobs | None
) -> JobsService | None:
    """Return the service of a gateway; None: no jobs.

    Args:
        rules: by task.
        services: of all tasks.
        jobs: the actor.

    Raises:
        ValueError: the secret of the webhooks cannot be used.
    """
    config = context.config
    if config.jobs is None or jobs is None or not rules:
        return None
    if config.jobs.webhook_secret_file is not None:
        read_secret(config.jobs.webhook_secret_file)
    scorer = PartScorer(
        config.jobs,
        rules,
        services,
        {name: services[name].catalog for name in rules},
        [limiter for service in services.values() for limiter in service.limiters.values()],
        max_photo_bytes=config.max_photo_bytes,
    )
    return JobsService(
        config.jobs,
        jobs,
        scorer,
        max_photo_bytes=config.max_photo_bytes,
        retry_after_s=config.retry_after_s,
    )


async def _read_source(request: Request) -> str:
    body = await read_body(request, request_slot(request), max_bytes=MAX_FORM_OVERHEAD_BYTES)
    try:
        return JobSource.model_validate_json(body).source
    except ValidationError as error:
        found = error.errors()[0]
        name = ".".join(map(str, found["loc"])) or "the body"
        message = f'{name}: {found["msg"]}; send {{"source": "s3://bucket/prefix"}}, or an archive'
        raise ApiError("invalid_request", message) from error


async def _rows(service: JobsService, record: JobRecord) -> AsyncIterator[bytes]:
    for number in range(record.num_parts):
        rows = await service.rows(record, number)
        if rows is not None:
            yield rows
        elif not record.is_unfinished and record.state == "done":
            raise RuntimeError(f"job {record.id} has no rows of part {number}")


def _status(request: Request, record: JobRecord, service: JobsService) -> JobStatus:
    left = record.num_photos - record.num_scored
    eta_s = left / record.photos_per_s if record.photos_per_s else None
    finished = record.finished_at
    prefix = request.scope.get("root_path", "")
    return JobStatus(
        id=record.id,
        state=record.state,
        task=record.task,
        model=record.model,
        source=record.source,
        created_at=record.created_at,
        started_at=record.started_at,
        finished_at=finished,
        photos=record.num_photos,
        scored=record.num_scored,
        errors=record.num_errors,
        eta_s=round(eta_s, 1) if eta_s is not None and record.state == "running" else None,
        results=f"{prefix}/v1/jobs/{record.id}/results",
        expires_at=None if finished is None else finished + timedelta(days=service.config.retention_days),
        error=record.error,
        webhook=record.webhook,
        request_id=record.request_id,
    )


def _service(request: Request) -> JobsService:
    service: JobsService | None = request.app.state.jobs
    if service is None:
        raise ApiError("not_found", OFF)
    return service
