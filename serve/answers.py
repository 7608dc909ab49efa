"""From bytes to answers: decode in threads, ask the stages, put the answer together.

Axes: T photo of a series, H row, W column, C colour.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Sequence
from datetime import datetime
from typing import TypeVar

import numpy as np

from models.images import Photo, PhotoError, PhotoLimits, bound_array, decode_bounded, decode_square
from serve.config import GatewayConfig
from serve.lesion.response import heatmap_png, lesion_answer
from serve.messages import FaceReport, LesionReport, ProgressReport, Series, Spot
from serve.progress.series import SeriesPhoto, check_faces, progress_answer, put_in_order
from serve.progress.skincredible import check_number, read_frames
from serve.runtime import metrics
from serve.runtime.admission import AdaptiveLimiter
from serve.runtime.decode_pool import DecodingPool
from serve.runtime.errors import ApiError, error_detail
from serve.runtime.replica_client import FULL_STAGE_WAIT_S, Stages
from serve.schemas import BatchLine, ErrorDetail, LesionAnswer, PredictAnswer, ProgressAnswer

_T = TypeVar("_T")

File = bytes | PhotoError
"""What came of one file of a request: its bytes, or why they were not kept."""


class Answers:
    """Answers every question of the API; of HTTP it knows the paths.

    Args:
        lesion_px: side of the square photos that the lesion network sees.
    """

    def __init__(self, config: GatewayConfig, stages: Stages, *, lesion_px: int) -> None:
        self._config = config
        self._stages = stages
        self._lesion_px = lesion_px
        self._limits = PhotoLimits(max_bytes=config.max_photo_bytes, max_pixels=config.max_photo_pixels)
        self._pool = DecodingPool(config.num_decode_threads)
        retry_after_s = config.retry_after_s
        self.spots = AdaptiveLimiter(config.max_spots, "photos of spots", retry_after_s=retry_after_s)
        self.batches = AdaptiveLimiter(
            config.max_batch_requests, "batches of spots", retry_after_s=retry_after_s
        )
        self.faces = AdaptiveLimiter(config.max_faces, "photos of faces", retry_after_s=retry_after_s)
        self.checks = {
            "/v1/lesion": self.spots.check,
            "/v1/lesion/batch": self.batches.check,
            "/v1/progress": self.faces.check,
            "/predict": self.faces.check,
        }
        """By path: raises ``overloaded`` when nothing more would be taken in."""
        self._batch_photos = asyncio.Semaphore(config.batch_concurrency)

    async def lesion(self, file: File, *, explain: bool, top_k: int) -> LesionAnswer:
        """Answer about one spot.

        Raises:
            PhotoError: the photo cannot be used.
            ApiError: ``overloaded``.
        """
        with self.spots.acquire():
            return await self._classify(await self._decode_spot(file, explain=explain), top_k=top_k)

    async def lesion_lines(
        self, files: Sequence[File], *, explain: bool, top_k: int, deadline: float, request_id: str
    ) -> AsyncIterator[bytes]:
        """Answer about many spots, a line of JSON for each as it finishes; one bad file is one error line.

        What is not ready at the deadline, on the clock of the event loop, becomes an error line too.
        """

        async def line(index: int, file: File) -> BatchLine:
            try:
                async with asyncio.timeout_at(deadline):
                    result = await self._patient_lesion(file, explain=explain, top_k=top_k)
                return BatchLine(index=index, result=result)
            except (ApiError, PhotoError) as error:
                return BatchLine(index=index, error=error_detail(error))
            except TimeoutError:
                message = "no answer was ready in time; send fewer photos at once, or allow more time"
                return BatchLine(index=index, error=ErrorDetail(code="deadline_exceeded", message=message))
            except Exception:
                logging.getLogger("skinserve").exception("request %s failed on file %d", request_id, index)
                message = f"the server failed on this photo; report it with the request's id {request_id}"
                return BatchLine(index=index, error=ErrorDetail(code="internal", message=message))

        tasks = [asyncio.create_task(line(index, file)) for index, file in enumerate(files)]
        try:
            for finished in asyncio.as_completed(tasks):
                answer = await finished
                missing = {"result"} if answer.result is None else {"error"}
                if answer.error is not None:
                    metrics.count_error(answer.error.code)
                yield answer.model_dump_json(exclude=missing).encode() + b"\n"
        finally:
            for task in tasks:
                task.cancel()

    async def progress(self, files: Sequence[File], sent_times: Sequence[datetime] | None) -> ProgressAnswer:
        """Answer about a series of photos of one face.

        Raises:
            PhotoError: a photo cannot be used.
            ApiError: ``no_face`` or ``too_few_photos``.
        """
        with self.faces.acquire(len(files)):
            return await self._progress(files, sent_times)

    async def _progress(self, files: Sequence[File], sent_times: Sequence[datetime] | None) -> ProgressAnswer:
        photos = await _all([self._decode_bounded(index, file) for index, file in enumerate(files)])
        order, positions, times = put_in_order(sent_times, [photo.taken_at for photo in photos])
        faces, report = await self._look([photos[position] for position in positions])
        series = [
            SeriesPhoto(index=position, photo=photos[position], taken_at=times[position], face=face)
            for position, face in zip(positions, faces, strict=True)
        ]
        answer = progress_answer(report, series, order)
        metrics.count_verdict(answer.verdict)
        return answer

    async def predict(self, body: bytes) -> PredictAnswer:
        """Answer SkinCredible's own request.

        Raises:
            ApiError: the body is not such a request, or shows too few faces.
        """
        frames = await self._pool.run(read_frames, body, max_frames=self._config.max_series_photos)
        side_px = self._config.face_side_px
        with self.faces.acquire(len(frames)):
            photos = await _all([self._pool.run(bound_array, frame, max_side_px=side_px) for frame in frames])
            _, report = await self._look(photos)
        improved = min(1.0, max(0.0, report.improved_T[-1]))
        return PredictAnswer(
            prob_class=1 if improved >= report.threshold else 0,
            negative_prob=1 - improved,
            positive_prob=improved,
        )

    def check_number(self, num_photos: int) -> None:
        """Refuse a series that is too short or too long."""
        check_number(num_photos, most=self._config.max_series_photos)

    async def _decode_spot(self, file: File, *, explain: bool) -> Spot:
        photo = await self._pool.decode(
            decode_square, _kept(file), side_px=self._lesion_px, limits=self._limits
        )
        return Spot(image_HWC=photo.image_HWC, explain=explain)

    async def _classify(self, spot: Spot, *, top_k: int) -> LesionAnswer:
        report = await self._stages.classify_lesion(spot)
        metrics.count_verdict(report.verdict)
        return lesion_answer(report, top_k=top_k, heatmap_png=await self._heatmap(report))

    async def _patient_lesion(self, file: File, *, explain: bool, top_k: int) -> LesionAnswer:
        """Answer about one photo of a batch request: it was let in, and waits where others are refused."""
        async with self._batch_photos:
            spot = await self._decode_spot(file, explain=explain)
            while True:
                try:
                    return await self._classify(spot, top_k=top_k)
                except ApiError as error:
                    if error.code != "overloaded":
                        raise
                await asyncio.sleep(FULL_STAGE_WAIT_S)

    async def _look(self, photos: Sequence[Photo]) -> tuple[Sequence[FaceReport | None], ProgressReport]:
        """Find the faces of photos in time order, then ask the progress network about them."""
        faces = await _all([self._stages.find_face(photo.image_HWC) for photo in photos])
        metrics.count_faces(sum(face is not None for face in faces), len(faces))
        check_faces(faces)
        shape = next(face.crop_HWC.shape for face in faces if face is not None)
        crop_THWC = np.stack([np.zeros(shape, np.uint8) if face is None else face.crop_HWC for face in faces])
        present_T = np.array([face is not None for face in faces])
        return faces, await self._stages.classify_progress(Series(crop_THWC=crop_THWC, present_T=present_T))

    async def _decode_bounded(self, index: int, file: File) -> Photo:
        side_px = self._config.face_side_px
        try:
            return await self._pool.decode(
                decode_bounded, _kept(file), max_side_px=side_px, limits=self._limits
            )
        except PhotoError as error:
            raise type(error)(f"photo {index + 1}: {error}") from error

    async def _heatmap(self, report: LesionReport) -> str | None:
        return None if report.heat_HW is None else await self._pool.run(heatmap_png, report.heat_HW)


def _kept(file: File) -> bytes:
    if isinstance(file, PhotoError):
        raise file
    return file


async def _all(work: Sequence[Awaitable[_T]]) -> list[_T]:
    """Wait for all of it; when one part fails, call off the rest at once."""
    tasks = [asyncio.ensure_future(part) for part in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
