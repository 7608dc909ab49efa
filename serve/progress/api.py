"""Routes and service of the progress task. Axes: T photo of a series, H row, W column, C colour."""

import asyncio
from collections.abc import Awaitable, Sequence
from datetime import datetime
from functools import partial
from typing import TypeVar

import numpy as np
from fastapi import APIRouter, Request, Response

from models.images import Photo, PhotoError, bound_array, decode_bounded
from models.photo_quality import find_problems
from serve.progress import openapi
from serve.progress.config import ProgressConfig
from serve.progress.messages import FaceReport, FaceSeries, ProgressReport
from serve.progress.photo_order import read_times, sort_photos
from serve.progress.reason_texts import translate_reasons
from serve.progress.response import (
    FACE_ADVICE,
    SeriesPhoto,
    blocking_reasons,
    change_reasons,
    compare_faces,
    light_reasons,
    photo_reasons,
    progress_answer,
)
from serve.progress.schemas import PredictAnswer, ProgressAnswer
from serve.progress.skincredible import check_num_photos, read_frames
from serve.runtime import metrics
from serve.runtime.admission import AdaptiveLimiter, request_slot
from serve.runtime.errors import ApiError
from serve.runtime.languages import set_language
from serve.runtime.loaded_model import loaded_model
from serve.runtime.model_catalog import CatalogEntry, ModelCatalog, ModelSelector
from serve.runtime.model_traffic import ModelChoice, choose_model
from serve.runtime.multipart import FormSpec
from serve.runtime.rate_limits import count_photos
from serve.runtime.uploads import media_type, read_body, read_form
from serve.schemas import LoadedModel, Reason
from serve.task import GatewayContext

_T = TypeVar("_T")

router = APIRouter(tags=["progress"])


@router.post("/v1/progress", openapi_extra=openapi.PROGRESS_BODY, responses=openapi.PROGRESS_RESPONSES)
async def progress(request: Request, response: Response, model: ModelSelector = None) -> ProgressAnswer:
    """Classify several photos of one face as improved, worsened or without clear change, multipart `files`.

    They are sorted by `taken_at`, one for each file; else by the capture time in EXIF or XMP if every photo
    has it; else the upload order counts as oldest first. `order` in the response names the source.

    If photos cannot be used, the error lists all of them in `photos`, each with its position and message.

    `reasons` says why the verdict is `inconclusive` (`different_people` names the photos, `few_faces`) or
    `no_clear_change`, and what weakens the answer: `times_missing` if only some photos record a time, which
    can reverse improved and worsened; `light_differs` if one face is much brighter than another, which can
    look like a change; `too_dark`, `overexposed` and `too_small` by photo.
    """
    service = progress_service(request)
    choice = choose_model(request, "progress", model)
    spec = FormSpec(
        file_field="files",
        text_fields=("taken_at",),
        max_files=service.config.max_series_photos,
        max_file_bytes=service.gateway.max_photo_bytes,
        max_bytes=service.gateway.max_request_bytes,
    )
    form = await read_form(request, request_slot(request), spec)
    check_num_photos(len(form.files), at_most=service.config.max_series_photos)
    times = read_times(form.fields.get("taken_at", []), len(form.files))
    await count_photos(request, len(form.files))
    answer = await service.classify(form.files, times, choice)
    return translate_reasons(answer, set_language(request, response))


@router.post("/predict", openapi_extra=openapi.PREDICT_BODY, responses=openapi.PREDICT_RESPONSES)
async def predict(request: Request, model: ModelSelector = None) -> PredictAnswer:
    """Answer a SkinCredible request: frames as numbers, oldest first, with the same face detector."""
    service = progress_service(request)
    choice = choose_model(request, "progress", model)
    if media_type(request) not in ("application/json", ""):
        raise ApiError("unsupported_type", f"the body is {media_type(request)!r}; send application/json")
    body = await read_body(request, request_slot(request), max_bytes=service.config.max_json_bytes)
    frames = await service.read_frames(body)
    await count_photos(request, len(frames))
    return await service.predict(frames, choice)


class ProgressService:
    """Decode photos of faces, detect the faces, classify the series, and build the responses."""

    def __init__(self, config: ProgressConfig, catalog: ModelCatalog, context: GatewayContext) -> None:
        self.config = config
        self.catalog = catalog
        self.gateway = context.config
        self.photo_limiter = AdaptiveLimiter(
            config.max_photos_per_gateway, "photos of faces", retry_after_s=self.gateway.retry_after_s
        )
        self.limiters = {"/v1/progress": self.photo_limiter, "/predict": self.photo_limiter}
        self._pool = context.decode_pool
        self._traffic = context.traffic
        self._decoder = partial(
            decode_bounded, max_side_px=config.max_photo_side_px, limits=context.photo_limits
        )
        self._detect_face = partial(context.replicas["face"].call, "detect")
        self._replicas = context.replicas["progress"]

    async def prepare(self, entry: CatalogEntry) -> None:
        """Do nothing: the gateway needs only the metadata of a progress model."""

    async def models(self) -> list[LoadedModel]:
        """Describe all models for ``GET /v1/models``, without loading one."""
        runtimes = await self._replicas.call("describe")
        return [
            loaded_model(entry, runtimes.get(entry.address), default=entry is self.catalog.default)
            for entry in self.catalog.entries
        ]

    async def classify(
        self,
        files: Sequence[bytes | PhotoError],
        sent_times: Sequence[datetime] | None,
        choice: ModelChoice,
    ) -> ProgressAnswer:
        """Classify a series of photos of one face.

        Raises:
            PhotoError: a photo was rejected or cannot be decoded.
            ApiError: ``no_face`` or ``overloaded``.
        """
        with (
            self.photo_limiter.acquire(len(files)),
            self._traffic.measure("progress", choice.entry, is_compared=not choice.is_named) as count,
        ):
            answer = await self._answer(files, sent_times, choice.entry)
            count(answer.verdict, answer.reasons)
        metrics.count_answer("progress", answer.verdict, answer.reasons)
        if (shadow := choice.shadow) is not None:
            work = partial(self._answer, files, sent_times, shadow)
            self._traffic.run_shadow("progress", shadow, work, answer.verdict)
        return answer

    async def read_frames(self, body: bytes) -> Sequence[np.ndarray]:
        """Parse the body of a SkinCredible request.

        Raises:
            ApiError: the body is invalid.
        """
        return await self._pool.run(read_frames, body, max_frames=self.config.max_series_photos)

    async def predict(self, frames: Sequence[np.ndarray], choice: ModelChoice) -> PredictAnswer:
        """Classify the frames of a SkinCredible request.

        Raises:
            ApiError: they show too few faces.
        """
        side_px = self.config.max_photo_side_px
        with (
            self.photo_limiter.acquire(len(frames)),
            self._traffic.measure("progress", choice.entry, is_compared=not choice.is_named) as count,
        ):
            photos = await _gather(
                [self._pool.run(bound_array, frame, max_side_px=side_px) for frame in frames]
            )
            faces, report = await self._classify_photos(photos, choice.entry)
            numbers = range(1, 1 + len(faces))
            blocking = blocking_reasons(faces, compare_faces(faces), numbers=numbers)
            if any(reason.code == "few_faces" for reason in blocking):  # its clients know two classes
                raise ApiError("too_few_photos", blocking[0].message)
            reasons = [
                *(blocking or change_reasons(report)),
                *await self._quality_reasons(photos),
                *([] if blocking else light_reasons(faces, numbers=numbers)),
            ]
            count("inconclusive" if blocking else report.thresholds.verdict(report.improved_T[-1]), reasons)
        improved = min(1.0, max(0.0, report.improved_T[-1]))
        return PredictAnswer(
            prob_class=1 if report.thresholds.is_improved(improved) else 0,
            negative_prob=1 - improved,
            positive_prob=improved,
            reasons=reasons,
        )

    async def _answer(
        self, files: Sequence[bytes | PhotoError], sent_times: Sequence[datetime] | None, entry: CatalogEntry
    ) -> ProgressAnswer:
        photos = await self._decode_all(files)
        order, positions, times = sort_photos(sent_times, [photo.taken_at for photo in photos])
        faces, report = await self._classify_photos([photos[at] for at in positions], entry)
        quality_reasons = await self._quality_reasons(photos)
        series = [
            SeriesPhoto(index=position, photo=photos[position], taken_at=times[position], face=face)
            for position, face in zip(positions, faces, strict=True)
        ]
        return progress_answer(report, series, order, quality_reasons)

    async def _decode_all(self, files: Sequence[bytes | PhotoError]) -> list[Photo]:
        """Decode all photos, so that one error can name all that cannot be used.

        Raises:
            PhotoError: of the first such photo, with all in ``rejected``.
        """
        decoded = await _gather([self._decode(file) for file in files])
        rejected = [(index, one) for index, one in enumerate(decoded) if isinstance(one, PhotoError)]
        if rejected:
            index, first = rejected[0]
            error = type(first)(f"photo {index + 1}: {first}")
            error.rejected = tuple(rejected)
            raise error from first
        return [photo for photo in decoded if isinstance(photo, Photo)]

    async def _decode(self, file: bytes | PhotoError) -> Photo | PhotoError:
        try:
            return await self._pool.decode(self._decoder, file)
        except PhotoError as error:
            return error

    async def _quality_reasons(self, photos: Sequence[Photo]) -> list[Reason]:
        return photo_reasons(await _gather([self._pool.run(find_problems, photo) for photo in photos]))

    async def _classify_photos(
        self, photos: Sequence[Photo], entry: CatalogEntry
    ) -> tuple[Sequence[FaceReport | None], ProgressReport]:
        """Detect the face of each photo, oldest first, and classify the series."""
        faces: list[FaceReport | None] = await _gather(
            [self._detect_face(photo.image_HWC, entry.meta.input_px) for photo in photos]
        )
        num_found = sum(face is not None for face in faces)
        for found, number in (("yes", num_found), ("no", len(faces) - num_found)):
            if number:
                metrics.faces().inc(number, tags={"found": found})
        check_faces(faces)
        shape = next(face.crop_HWC.shape for face in faces if face is not None)
        crop_THWC = np.stack([np.zeros(shape, np.uint8) if face is None else face.crop_HWC for face in faces])
        present_T = np.array([face is not None for face in faces])
        series = FaceSeries(crop_THWC=crop_THWC, present_T=present_T)
        is_default = entry.address == self.config.checkpoints[0]
        return faces, await self._replicas.call("classify", series, model="" if is_default else entry.address)


def check_faces(faces: Sequence[FaceReport | None]) -> None:
    """Reject a series without a face.

    Raises:
        ApiError: ``no_face``.
    """
    if not any(face is not None for face in faces):
        raise ApiError("no_face", f"no face was found in any of the {len(faces)} photos; {FACE_ADVICE}")


async def _gather(work: Sequence[Awaitable[_T]]) -> list[_T]:
    """Return all results; if one fails, cancel the others at once."""
    tasks = [asyncio.ensure_future(part) for part in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def progress_service(request: Request) -> ProgressService:
    """Return the service of the gateway that received a request."""
    return request.app.state.services["progress"]
