"""The HTTP routes, and the deployment that holds them; no torch."""

from typing import Annotated

import ray.serve
from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.responses import JSONResponse, RedirectResponse, StreamingResponse
from ray.serve.handle import DeploymentHandle

from models.diagnoses import DIAGNOSES
from models.limits import MAX_FORM_OVERHEAD_BYTES
from serve.answers import Answers, File
from serve.config import GatewayConfig
from serve.progress.series import read_times
from serve.runtime import openapi as docs
from serve.runtime.admission import (
    REQUEST_ID_HEADER,
    AdmissionControl,
    RequestIdMiddleware,
    publish_checks,
    request_slot,
)
from serve.runtime.autoscaling import CpuMeter, Load
from serve.runtime.errors import ApiError, error_responses, register_error_handlers
from serve.runtime.readiness import Readiness
from serve.runtime.replica_client import ServeStages, StageName, Stages
from serve.runtime.uploads import RAW_TYPES, FormSpec, media_type, read_body, read_form
from serve.schemas import Health, LesionAnswer, Models, PredictAnswer, ProgressAnswer

routes = APIRouter()

Explain = Annotated[bool, Query(description="add a heat map of where the verdict comes from")]
TopK = Annotated[int, Query(ge=1, le=len(DIAGNOSES), description="how many diagnoses to list")]


@ray.serve.deployment(max_ongoing_requests=1000, graceful_shutdown_timeout_s=75)
@ray.serve.ingress()
class Gateway:
    """Takes requests in, bounded, and answers them with the help of the stages.

    Serve's own limit on ongoing requests is far above ours: what is too much is refused by us, in JSON. A
    replica that has to go answers first what it took in, for longer than the default deadline.
    """

    def __init__(
        self,
        config: GatewayConfig,
        lesion_px: int,
        lesion: DeploymentHandle,
        face: DeploymentHandle,
        progress: DeploymentHandle,
    ) -> None:
        self._config = config
        self._lesion_px = lesion_px
        self._cpu = CpuMeter()
        handles: dict[StageName, DeploymentHandle] = {"lesion": lesion, "face": face, "progress": progress}
        self._stages = ServeStages(
            handles, bundle_from=config.bundle_from, retry_after_s=config.retry_after_s
        )

    def record_autoscaling_stats(self) -> dict[Load, float]:
        """Tell Serve how busy this replica is, for ``TargetLoadPolicy``."""
        return self._cpu()

    def __serve_build_asgi_app__(self) -> FastAPI:
        app = create_app(self._config, self._stages, lesion_px=self._lesion_px)
        publish_checks(app.state.answers.checks)
        return app


def create_app(config: GatewayConfig, stages: Stages, *, lesion_px: int) -> FastAPI:
    """Build the API around any stages; the server passes Serve's, tests pass fakes."""
    app = docs.new_app()
    app.state.config = config
    app.state.stages = stages
    app.state.answers = answers = Answers(config, stages, lesion_px=lesion_px)
    app.state.readiness = Readiness(stages, ready_after_s=config.ready_after_s)
    app.include_router(routes)
    docs.add_docs(app)
    register_error_handlers(app)
    app.add_middleware(AdmissionControl, config=config, checks=answers.checks)
    app.add_middleware(RequestIdMiddleware)
    return app


_ON_PHOTOS = ("unreadable_image", "too_large", "too_many_pixels", "unsupported_type", "invalid_request")
_ALWAYS = ("overloaded", "deadline_exceeded", "internal")
_ON_SERIES = ("no_face", "too_few_photos", "too_many_photos")


@routes.post(
    "/v1/lesion",
    tags=["lesion"],
    openapi_extra=docs.LESION_BODY,
    responses=docs.answered(docs.LESION_EXAMPLE) | error_responses(*_ON_PHOTOS, "too_many_photos", *_ALWAYS),
)
async def lesion(request: Request, explain: Explain = False, top_k: TopK = 5) -> LesionAnswer:
    """Is this spot harmful, and what is it? One photo, as the raw body or as multipart `file`."""
    file = await _read_photo(request)
    return await _answers(request).lesion(file, explain=explain, top_k=top_k)


@routes.post(
    "/v1/lesion/batch",
    tags=["lesion"],
    openapi_extra=docs.BATCH_BODY,
    response_class=StreamingResponse,
    responses={
        200: docs.BATCH_LINES,
        **error_responses("too_large", "unsupported_type", "invalid_request", "too_many_photos", *_ALWAYS),
    },
)
async def lesion_batch(request: Request, explain: Explain = False, top_k: TopK = 5) -> StreamingResponse:
    """Up to 64 spots: a line of JSON for each as it finishes, in any order; a bad file is one error line."""
    config, slot = _config(request), request_slot(request)
    answers = _answers(request)
    shape = FormSpec(
        file_field="files",
        max_files=config.max_batch_photos,
        max_file_bytes=config.max_photo_bytes,
        max_bytes=config.max_request_bytes,
    )
    files = (await read_form(request, slot, shape)).files
    if not files:
        raise ApiError("invalid_request", f"the form has no 'files'; send 1 to {shape.max_files} photos")
    slot.enter_context(answers.batches.acquire())
    lines = answers.lesion_lines(
        files,
        explain=explain,
        top_k=top_k,
        deadline=slot.deadline,
        request_id=request.headers[REQUEST_ID_HEADER],
    )
    return StreamingResponse(lines, media_type="application/x-ndjson")


@routes.post(
    "/v1/progress",
    tags=["progress"],
    openapi_extra=docs.PROGRESS_BODY,
    responses=docs.answered(docs.PROGRESS_EXAMPLE)
    | error_responses(*_ON_PHOTOS, *_ON_SERIES, "bad_timestamp", *_ALWAYS),
)
async def progress(request: Request) -> ProgressAnswer:
    """Is this face getting better? 2 to 30 photos of one face, multipart `files`.

    They are put in order by `taken_at`, one for each file; else by the EXIF capture time if every photo has
    it; else they count as sent oldest first. The answer says which.
    """
    config, slot = _config(request), request_slot(request)
    answers = _answers(request)
    shape = FormSpec(
        file_field="files",
        text_fields=("taken_at",),
        max_files=config.max_series_photos,
        max_file_bytes=config.max_photo_bytes,
        max_bytes=config.max_request_bytes,
    )
    form = await read_form(request, slot, shape)
    answers.check_number(len(form.files))
    return await answers.progress(form.files, read_times(form.fields.get("taken_at", []), len(form.files)))


@routes.post(
    "/predict",
    tags=["progress"],
    openapi_extra=docs.PREDICT_BODY,
    responses=docs.answered(docs.PREDICT_EXAMPLE)
    | error_responses("too_large", "unsupported_type", "invalid_request", *_ON_SERIES, *_ALWAYS),
)
async def predict(request: Request) -> PredictAnswer:
    """Answer SkinCredible's own request: frames as numbers, oldest first, through the same face stage."""
    slot = request_slot(request)
    if media_type(request) not in ("application/json", ""):
        raise ApiError("unsupported_type", f"the body is {media_type(request)!r}; send application/json")
    body = await read_body(request, slot, max_bytes=_config(request).max_json_bytes)
    return await _answers(request).predict(body)


@routes.get("/v1/models", tags=["server"], responses=error_responses(*_ALWAYS))
async def models(request: Request) -> Models:
    """What answers: each network with its labels, thresholds, figures, data and licence."""
    stages: Stages = request.app.state.stages
    return Models(models=list(await stages.describe()))


@routes.get("/healthz", tags=["server"])
async def healthz() -> Health:
    """Whether this process is up; says nothing of the models."""
    return Health(status="ok")


@routes.get(
    "/readyz",
    tags=["server"],
    response_model=Health,
    responses={503: {"model": Health, "description": "still waiting for the models that are named"}},
)
async def readyz(request: Request) -> JSONResponse:
    """Whether every model is loaded and has answered a warm-up batch within the last minute."""
    readiness: Readiness = request.app.state.readiness
    health = await readiness.check()
    return JSONResponse(health.model_dump(), status_code=200 if health.status == "ok" else 503)


@routes.get("/", include_in_schema=False)
async def root() -> RedirectResponse:
    """Send people to the page."""
    return RedirectResponse("/ui/")


async def _read_photo(request: Request) -> File:
    """Read the one photo of a request, raw or from a form."""
    config, slot = _config(request), request_slot(request)
    kind = media_type(request)
    if kind == "multipart/form-data":
        shape = FormSpec(
            file_field="file",
            max_files=1,
            max_file_bytes=config.max_photo_bytes,
            max_bytes=config.max_photo_bytes + MAX_FORM_OVERHEAD_BYTES,
        )
        files = (await read_form(request, slot, shape)).files
        if not files:
            raise ApiError("invalid_request", "the form has no 'file'; send the photo under that name")
        return files[0]
    if not (kind.startswith("image/") or kind in ("application/octet-stream", "")):
        raise ApiError(
            "unsupported_type",
            f"the body is {kind!r}; send the photo as {', '.join(RAW_TYPES)}, or a form with 'file'",
        )
    body = await read_body(request, slot, max_bytes=config.max_photo_bytes)
    if not body:
        raise ApiError("invalid_request", "the body is empty; send a photo")
    return body


def _answers(request: Request) -> Answers:
    return request.app.state.answers


def _config(request: Request) -> GatewayConfig:
    return request.app.state.config
