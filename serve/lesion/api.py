"""Routes, service and response of the lesion task."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from models.lesion.localizer import Box
from models.lesion.preparation import PreparedLesion
from models.limits import DEFAULT_TOP_K, MAX_TOP_K
from serve.lesion import openapi
from serve.lesion.batch import LesionSource, stream_lines
from serve.lesion.config import LesionConfig
from serve.lesion.gateway_model import GatewayModel, GatewayModels
from serve.lesion.grad_cam import grad_cam_png
from serve.lesion.messages import LesionPhoto, LesionReport
from serve.lesion.reason_texts import translate_reasons
from serve.lesion.schemas import LesionAnswer
from serve.runtime import metrics
from serve.runtime.admission import REQUEST_ID_HEADER, AdaptiveLimiter, request_slot
from serve.runtime.errors import ApiError
from serve.runtime.languages import set_language
from serve.runtime.loaded_model import loaded_model
from serve.runtime.model_catalog import CatalogEntry, ModelCatalog, ModelSelector
from serve.runtime.model_traffic import choose_model
from serve.runtime.multipart import FormSpec
from serve.runtime.rate_limits import count_photos
from serve.runtime.replica_client import OVERLOAD_RETRY_S
from serve.runtime.uploads import read_form, read_photo
from serve.schemas import Gate, LoadedModel
from serve.task import GatewayContext

UNBUFFERED = {"X-Accel-Buffering": "no", "Cache-Control": "no-store"}
"""nginx otherwise holds back the lines of a batch until the end."""

Explain = Annotated[bool, Query(description="add the Grad-CAM map of the verdict")]
TopK = Annotated[int, Query(ge=1, le=MAX_TOP_K, description="number of diagnoses in the response")]

LesionBox = Annotated[
    str | None,
    Query(
        description="left,top,right,bottom of the lesion in pixels of the upright photo, instead of the box "
        "that the server finds; the network reads a square around it",
        examples=["1210,830,1790,1360"],
    ),
]
_BOX = re.compile(r"\d{1,6}(\.\d{1,6})?(,\d{1,6}(\.\d{1,6})?){3}", re.ASCII)

Submit = Callable[[GatewayModel, LesionPhoto], Awaitable[LesionReport]]
"""Give one photo to a network."""

router = APIRouter(tags=["lesion"])


@router.post("/v1/lesion", openapi_extra=openapi.LESION_BODY, responses=openapi.LESION_RESPONSES)
async def lesion(
    request: Request,
    response: Response,
    explain: Explain = False,
    top_k: TopK = DEFAULT_TOP_K,
    box: LesionBox = None,
    model: ModelSelector = None,
) -> LesionAnswer:
    """Classify one lesion: is it harmful, and what is it? Raw body, multipart `file`, or JSON."""
    service = lesion_service(request)
    options = lesion_options(request, explain=explain, top_k=top_k, box=box, model=model)
    max_bytes = service.gateway.max_photo_bytes
    file = await read_photo(request, request_slot(request), service.pool, max_bytes=max_bytes)
    await count_photos(request, 1)
    answer = await service.classify(file, options)
    return translate_reasons(answer, set_language(request, response))


@router.post(
    "/v1/lesion/batch",
    openapi_extra=openapi.BATCH_BODY,
    response_class=StreamingResponse,
    responses=openapi.BATCH_RESPONSES,
)
async def lesion_batch(
    request: Request, explain: Explain = False, top_k: TopK = DEFAULT_TOP_K, model: ModelSelector = None
) -> StreamingResponse:
    """Classify many lesions, multipart `files`: one line of JSON per photo as it finishes.

    A bad file becomes an error line; the other photos are classified.
    """
    service, slot = lesion_service(request), request_slot(request)
    options = lesion_options(request, explain=explain, top_k=top_k, box=None, model=model)
    spec = FormSpec(
        file_field="files",
        max_files=service.config.max_batch_photos,
        max_file_bytes=service.gateway.max_photo_bytes,
        max_bytes=service.gateway.max_request_bytes,
    )
    files = (await read_form(request, slot, spec)).files
    if not files:
        raise ApiError("invalid_request", f"the form has no 'files'; send 1 to {spec.max_files} photos")
    slot.enter_context(service.batch_limiter.acquire())
    await count_photos(request, len(files))
    response = StreamingResponse(iter(()), media_type="application/x-ndjson", headers=UNBUFFERED)
    response.body_iterator = stream_lines(
        files,
        lambda file: service.classify_or_wait(file, options),
        deadline=slot.deadline,
        request_id=request.headers[REQUEST_ID_HEADER],
        language=set_language(request, response),
    )
    return response


@dataclass(frozen=True, kw_only=True)
class LesionOptions:
    """Query parameters of a request."""

    entry: CatalogEntry
    explain: bool
    top_k: int
    shadow: CatalogEntry | None = None
    """Model whose answer is computed in the background and compared."""
    is_compared: bool = True
    """The answer counts for the automatic rollback of a canary."""
    box: Box | None = None
    """Of the lesion, pixels of the upright photo."""


class LesionService:
    """Prepare photos of lesions, classify the usable ones on the replicas, and build the responses.

    Raises:
        CheckpointError: the gate of a model belongs to another network or localizer.
    """

    def __init__(self, config: LesionConfig, catalog: ModelCatalog, context: GatewayContext) -> None:
        self.config = config
        self.catalog = catalog
        self.gateway = context.config
        retry_after_s = self.gateway.retry_after_s
        self.photo_limiter = AdaptiveLimiter(
            config.max_photos_per_gateway, "photos of lesions", retry_after_s=retry_after_s
        )
        self.batch_limiter = AdaptiveLimiter(
            config.max_batch_requests, "batches of lesions", retry_after_s=retry_after_s
        )
        self.report_limiter = AdaptiveLimiter(config.max_reports, "reports", retry_after_s=retry_after_s)
        self.limiters = {
            "/v1/lesion": self.photo_limiter,
            "/v1/lesion/batch": self.batch_limiter,
            "/v1/report": self.report_limiter,
        }
        self._batch_photos = asyncio.Semaphore(config.batch_concurrency)
        self.pool = context.decode_pool
        self._traffic = context.traffic
        self._replicas = context.replicas["lesion"]
        self._models = GatewayModels(config, catalog, self._replicas, context.photo_limits)

    async def classify(self, file: LesionSource, options: LesionOptions) -> LesionAnswer:
        """Classify the photo of a single request: a file, or its pixels, uint8 (H, W, 3).

        Raises:
            PhotoError: the photo was rejected or cannot be decoded, or the box is outside the photo.
            ApiError: ``overloaded``.
        """
        with self.photo_limiter.acquire():
            return await self._classify(file, options, _submit)

    async def classify_or_wait(self, file: LesionSource, options: LesionOptions) -> LesionAnswer:
        """Classify one photo of an accepted batch request; wait while the replicas are overloaded."""
        async with self._batch_photos:
            return await self._classify(file, options, _submit_or_wait)

    async def classify_of_job(self, file: bytes, entry: CatalogEntry) -> LesionAnswer:
        """Classify one photo of a job; wait while the replicas are overloaded."""
        options = LesionOptions(entry=entry, explain=False, top_k=DEFAULT_TOP_K, is_compared=False)
        return await self._classify(file, options, _submit_or_wait)

    async def prepare(self, entry: CatalogEntry) -> None:
        """Load the localizer of a model before it is in the catalog."""
        await self._models.get(entry)

    async def models(self) -> list[LoadedModel]:
        """Describe all models for ``GET /v1/models``, without loading one."""
        runtimes = await self._replicas.call("describe")
        models = [(entry, (await self._models.get(entry)).rules) for entry in self.catalog.entries]
        return [
            loaded_model(
                entry,
                runtimes.get(entry.address),
                default=entry is self.catalog.default,
                thresholds=rules.thresholds.model_dump(),
                gate=Gate(**rules.gate.model_dump(exclude={"network_sha256"})) if rules.gate else None,
            )
            for entry, rules in models
        ]

    async def _classify(self, file: LesionSource, options: LesionOptions, submit: Submit) -> LesionAnswer:
        """Classify one photo, count the answer, and start the shadow model."""
        with self._traffic.measure("lesion", options.entry, is_compared=options.is_compared) as count:
            answer = await self._answer(file, options, submit)
            count(answer.verdict, answer.reasons)
        metrics.count_answer("lesion", answer.verdict, answer.reasons)
        if (shadow := options.shadow) is not None:
            alone = replace(options, entry=shadow, shadow=None, explain=False)
            work = partial(self._answer, file, alone, _submit)
            self._traffic.run_shadow("lesion", shadow, work, answer.verdict)
        return answer

    async def _answer(self, file: LesionSource, options: LesionOptions, submit: Submit) -> LesionAnswer:
        """Prepare a photo, give it to the network unless it has problems, and build the response."""
        model = await self._models.get(options.entry)
        rules = model.rules
        prepared = await self._prepare(model, file, options.box)
        problems = rules.problems_before(prepared)
        if problems:
            return rules.unusable(prepared, problems, is_classified=False)
        report = await submit(model, LesionPhoto(image_HWC=prepared.image_HWC, explain=options.explain))
        problems = rules.problems_after(prepared, report)
        if problems:
            return rules.unusable(prepared, problems, is_classified=True)
        map_HW = report.grad_cam_HW
        png = None if map_HW is None else await self.pool.run(grad_cam_png, map_HW)
        return rules.usable(prepared, report, top_k=options.top_k, heatmap_png=png)

    async def _prepare(self, model: GatewayModel, photo: LesionSource, box: Box | None) -> PreparedLesion:
        if isinstance(photo, np.ndarray):
            return await self.pool.run(model.prepare_pixels, photo)
        return await self.pool.decode(partial(model.prepare, box=box), photo)


async def _submit(model: GatewayModel, photo: LesionPhoto) -> LesionReport:
    return await model.coalescer.submit(photo)


async def _submit_or_wait(model: GatewayModel, photo: LesionPhoto) -> LesionReport:
    while True:
        try:
            return await model.coalescer.submit(photo)
        except ApiError as error:
            if error.code != "overloaded":
                raise
        await asyncio.sleep(OVERLOAD_RETRY_S)


def parse_box(text: str) -> Box:
    """Parse the query parameter ``box``.

    Raises:
        ApiError: ``invalid_request``.
    """
    if not _BOX.fullmatch(text):
        raise ApiError(
            "invalid_request",
            f"query parameter box is {text[:60]!r}: must be four numbers left,top,right,bottom in pixels of "
            "the upright photo, such as 120,80,360,300",
        )
    return Box(*map(float, text.split(",")))


def lesion_options(
    request: Request, *, explain: bool, top_k: int, box: str | None, model: str | None
) -> LesionOptions:
    """Choose the model of a request and parse its query parameters.

    Raises:
        ApiError: ``not_found`` or ``invalid_request``.
    """
    choice = choose_model(request, "lesion", model)
    return LesionOptions(
        entry=choice.entry,
        shadow=choice.shadow,
        is_compared=not choice.is_named,
        explain=explain,
        top_k=top_k,
        box=None if box is None else parse_box(box),
    )


def lesion_service(request: Request) -> LesionService:
    """Return the service of the gateway that received a request."""
    return request.app.state.services["lesion"]
