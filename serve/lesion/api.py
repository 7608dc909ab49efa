"""Routes, service and response of the lesion task."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from models.checkpoint import CheckpointMeta
from models.images import Photo, PhotoError, PhotoLimits, decode_square
from models.limits import DEFAULT_TOP_K, MAX_TOP_K
from models.photo_quality import Problem, find_problems
from serve.lesion import openapi
from serve.lesion.batch import stream_lines
from serve.lesion.config import LesionConfig
from serve.lesion.grad_cam import grad_cam_png
from serve.lesion.messages import LesionPhoto, LesionReport
from serve.lesion.schemas import DiagnosisScore, LesionAnswer, PixelBox
from serve.lesion.verdict import RISK_LEVELS, thresholds_of
from serve.runtime import metrics
from serve.runtime.admission import REQUEST_ID_HEADER, AdaptiveLimiter, request_slot
from serve.runtime.errors import ApiError
from serve.runtime.multipart import FormSpec
from serve.runtime.replica_client import OVERLOAD_RETRY_S, RequestCoalescer
from serve.runtime.uploads import read_form, read_photo
from serve.schemas import ModelName, Reason
from serve.task import GatewayContext

UNBUFFERED = {"X-Accel-Buffering": "no", "Cache-Control": "no-store"}
"""nginx otherwise holds back the lines of a batch until the end."""

Explain = Annotated[bool, Query(description="add the Grad-CAM map of the verdict")]
TopK = Annotated[int, Query(ge=1, le=MAX_TOP_K, description="number of diagnoses in the response")]

Submit = Callable[[LesionPhoto], Awaitable[LesionReport]]
"""Give one photo to the network."""

router = APIRouter(tags=["lesion"])


@router.post("/v1/lesion", openapi_extra=openapi.LESION_BODY, responses=openapi.LESION_RESPONSES)
async def lesion(request: Request, explain: Explain = False, top_k: TopK = DEFAULT_TOP_K) -> LesionAnswer:
    """Classify one lesion: is it harmful, and what is it? Raw body, multipart `file`, or JSON."""
    service = _service(request)
    max_bytes = service.gateway.max_photo_bytes
    file = await read_photo(request, request_slot(request), service.pool, max_bytes=max_bytes)
    return await service.classify(file, explain=explain, top_k=top_k)


@router.post(
    "/v1/lesion/batch",
    openapi_extra=openapi.BATCH_BODY,
    response_class=StreamingResponse,
    responses=openapi.BATCH_RESPONSES,
)
async def lesion_batch(
    request: Request, explain: Explain = False, top_k: TopK = DEFAULT_TOP_K
) -> StreamingResponse:
    """Classify many lesions, multipart `files`: one line of JSON per photo as it finishes.

    A bad file becomes an error line; the other photos are classified.
    """
    service, slot = _service(request), request_slot(request)
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
    classify = partial(service.classify_or_wait, explain=explain, top_k=top_k)
    lines = stream_lines(
        files, classify, deadline=slot.deadline, request_id=request.headers[REQUEST_ID_HEADER]
    )
    return StreamingResponse(lines, media_type="application/x-ndjson", headers=UNBUFFERED)


class LesionService:
    """Decode photos of lesions, classify the usable ones on the replicas, and build the responses.

    Args:
        meta: of the checkpoint that the replicas serve.
    """

    def __init__(self, config: LesionConfig, meta: CheckpointMeta, context: GatewayContext) -> None:
        self.config = config
        self._model = ModelName(name=meta.name, version=meta.version)
        self._thresholds = config.thresholds or thresholds_of(meta)
        self.gateway = context.config
        retry_after_s = self.gateway.retry_after_s
        self.photo_limiter = AdaptiveLimiter(
            config.max_photos_per_gateway, "photos of lesions", retry_after_s=retry_after_s
        )
        self.batch_limiter = AdaptiveLimiter(
            config.max_batch_requests, "batches of lesions", retry_after_s=retry_after_s
        )
        self.limiters = {"/v1/lesion": self.photo_limiter, "/v1/lesion/batch": self.batch_limiter}
        self._batch_photos = asyncio.Semaphore(config.batch_concurrency)
        self.pool = context.decode_pool
        self._decoder = partial(_decode, side_px=meta.input_px, limits=context.photo_limits)
        self._coalescer = RequestCoalescer[LesionPhoto, LesionReport](
            partial(context.replicas["lesion"].call, "classify"), threshold=config.coalesce_above
        )

    async def classify(self, file: bytes | PhotoError, *, explain: bool, top_k: int) -> LesionAnswer:
        """Classify the photo of a single request.

        Raises:
            PhotoError: the photo was rejected or cannot be decoded.
            ApiError: ``overloaded``.
        """
        with self.photo_limiter.acquire():
            return await self._answer(file, self._coalescer.submit, explain=explain, top_k=top_k)

    async def classify_or_wait(self, file: bytes | PhotoError, *, explain: bool, top_k: int) -> LesionAnswer:
        """Classify one photo of an accepted batch request; wait while the replicas are overloaded."""
        async with self._batch_photos:
            return await self._answer(file, self._submit_or_wait, explain=explain, top_k=top_k)

    async def _answer(
        self, file: bytes | PhotoError, submit: Submit, *, explain: bool, top_k: int
    ) -> LesionAnswer:
        """Prepare a photo, give it to the network if it is usable, and build the response."""
        photo, problems = await self.pool.decode(self._decoder, file)
        if problems:
            return self._inconclusive(problems)
        report = await submit(LesionPhoto(image_HWC=photo.image_HWC, explain=explain))
        metrics.verdicts().inc(tags={"verdict": report.verdict})
        grad_cam_HW = report.grad_cam_HW
        png = None if grad_cam_HW is None else await self.pool.run(grad_cam_png, grad_cam_HW)
        side = min(photo.width_px, photo.height_px)
        left, top = (photo.width_px - side) // 2, (photo.height_px - side) // 2
        return lesion_answer(
            report, top_k=top_k, crop_box=(left, top, left + side, top + side), heatmap_png=png
        )

    async def _submit_or_wait(self, photo: LesionPhoto) -> LesionReport:
        while True:
            try:
                return await self._coalescer.submit(photo)
            except ApiError as error:
                if error.code != "overloaded":
                    raise
            await asyncio.sleep(OVERLOAD_RETRY_S)

    def _inconclusive(self, problems: Sequence[Problem]) -> LesionAnswer:
        metrics.verdicts().inc(tags={"verdict": "inconclusive"})
        for problem in problems:
            metrics.reasons().inc(tags={"code": problem.code})
        return LesionAnswer(
            model=self._model,
            verdict="inconclusive",
            usable=False,
            reasons=[Reason(code=problem.code, message=problem.message) for problem in problems],
            malignant_probability=None,
            threshold=self._thresholds.malignant,
            benign_threshold=self._thresholds.benign,
            risk_level=None,
            diagnosis=None,
            diagnoses=[],
            lesion_box=None,
            crop_box=None,
        )


def lesion_answer(
    report: LesionReport, *, top_k: int, crop_box: PixelBox, heatmap_png: str | None = None
) -> LesionAnswer:
    """Build the response for one photo."""
    return LesionAnswer(
        model=report.model,
        malignant_probability=report.malignant_probability,
        verdict=report.verdict,
        usable=True,
        reasons=[near_threshold(report)] if report.verdict == "inconclusive" else [],
        threshold=report.thresholds.malignant,
        benign_threshold=report.thresholds.benign,
        risk_level=RISK_LEVELS[report.verdict],
        diagnosis=named_diagnosis(report),
        diagnoses=list(report.diagnoses[:top_k]),
        lesion_box=None,
        crop_box=crop_box,
        heatmap_png=heatmap_png,
    )


def near_threshold(report: LesionReport) -> Reason:
    """Return the reason for an inconclusive verdict on a usable photo."""
    thresholds = report.thresholds
    message = (
        f"the probability of malignancy is {report.malignant_probability:.2g}; benign is below "
        f"{thresholds.benign:.2g}, malignant from {thresholds.malignant:.2g}; take another sharp photo of "
        "the lesion from 10 cm in daylight, or show it to a doctor"
    )
    return Reason(code="near_threshold", message=message)


def named_diagnosis(report: LesionReport) -> DiagnosisScore | None:
    """Return the most probable diagnosis of the verdict's group, or None below the naming threshold.

    Diagnoses of the other group are excluded: a benign verdict never names a melanoma, and an inconclusive
    one names nothing.
    """
    candidates = [score for score in report.diagnoses if score.group == report.verdict]
    best = max(candidates, key=lambda score: score.probability, default=None)
    return best if best is not None and best.probability >= report.naming_threshold else None


def _decode(
    data: bytes, *, side_px: int, limits: PhotoLimits, jpeg_checked: bool
) -> tuple[Photo, list[Problem]]:
    """Return the central square of a photo, and why it is not usable."""
    photo = decode_square(data, side_px=side_px, limits=limits, jpeg_checked=jpeg_checked)
    return photo, find_problems(photo)


def _service(request: Request) -> LesionService:
    return request.app.state.services["lesion"]
