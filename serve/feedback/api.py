"""Routes and service of feedback. Axes: H row, W column, C colour."""

import asyncio
import base64
import io
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from fastapi import APIRouter, Request, Response
from PIL import Image
from starlette.types import Scope

from models.images import PhotoError, PhotoLimits, decode_bounded
from models.limits import MAX_FORM_OVERHEAD_BYTES
from models.rounded_text import floor_text
from models.storage_errors import StorageError
from serve.feedback import openapi
from serve.feedback.form import PHOTO, TEXT_FIELDS, parse_form
from serve.feedback.schemas import Feedback, FeedbackReceipt, FeedbackRecord, FeedbackRules
from serve.feedback.store import CallerFullError, FeedbackStore, StoreFullError, new_receipt, today
from serve.runtime.admission import AdaptiveLimiter, request_slot
from serve.runtime.callers import Caller
from serve.runtime.errors import EXAMPLES, ApiError
from serve.runtime.leases import LeaseClient
from serve.runtime.multipart import FormSpec
from serve.runtime.rate_limits import count_photos, limit_feedback, sender_of, visitor_of
from serve.runtime.uploads import read_form
from serve.task import GatewayContext

MAX_STORAGE_S = 15.0
"""A bucket that is away is tried for over a minute; the person does not wait so long."""
MAX_REQUESTS_AT_ONCE = 8
NUM_THREADS = 4
STORED_SIDE_PX = 2048
STORED_QUALITY = 92
NOT_STORED = EXAMPLES["feedback_unavailable"]
FULL = "the store of feedback is full, and nothing of yours was stored; ask the operator of this server"
NOT_DELETED = "the feedback cannot be deleted now; keep the receipt and try again later"
UNKNOWN_RECEIPT = "there is no feedback with this receipt; it may have been deleted already"
OFF = "this server stores no feedback; its operator can set gateway.feedback"

_T = TypeVar("_T")

router = APIRouter(tags=["feedback"])
logger = logging.getLogger("skinserve")


@router.post(
    "/v1/feedback",
    status_code=201,
    openapi_extra=openapi.FEEDBACK_BODY,
    responses=openapi.FEEDBACK_RESPONSES,
)
async def add_feedback(request: Request) -> FeedbackReceipt:
    """Store feedback on one answer, with consent; return the receipt that deletes it."""
    service = _service(request)
    await service.check_rate(request.scope)
    form = await read_form(request, request_slot(request), service.form)
    feedback, photo = parse_form(form, service.rules)
    await count_photos(request, 1)
    return await service.add(feedback, photo, visitor_of(request.scope))


@router.delete("/v1/feedback/{receipt}", status_code=204, responses=openapi.DELETE_RESPONSES)
async def delete_feedback(request: Request, receipt: str) -> Response:
    """Delete the feedback of a receipt, and its photo."""
    await _service(request).remove(receipt)
    return Response(status_code=204)


class FeedbackService:
    """Store and delete feedback in threads of its own."""

    def __init__(
        self,
        store: FeedbackStore,
        context: GatewayContext,
        rules: Mapping[str, FeedbackRules],
        leases: LeaseClient | None,
    ) -> None:
        config = context.config
        self.rules = rules
        self.form = FormSpec(
            file_field=PHOTO,
            text_fields=TEXT_FIELDS,
            max_files=1,
            max_file_bytes=config.max_photo_bytes,
            max_bytes=config.max_photo_bytes + MAX_FORM_OVERHEAD_BYTES,
        )
        self.limiter = AdaptiveLimiter(
            MAX_REQUESTS_AT_ONCE, "requests with feedback", retry_after_s=config.retry_after_s
        )
        self._store = store
        self._decode_pool = context.decode_pool
        self._encode = partial(encode_photo, limits=context.photo_limits)
        self._leases = leases
        self._per_minute = config.feedback_per_minute
        self._max_mb_per_address = config.feedback_max_mb_per_address
        self._threads = ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="feedback")

    async def check_rate(self, scope: Scope) -> None:
        """Raise ``rate_limited`` when callers without a key send too much feedback."""
        await limit_feedback(scope, self._leases, self._per_minute)

    async def add(
        self, feedback: Feedback, photo: bytes | PhotoError | None, caller: Caller
    ) -> FeedbackReceipt:
        """Store one feedback; unless the receipt is returned, nothing stays stored.

        Raises:
            PhotoError: the photo was rejected or cannot be decoded.
            ApiError: ``overloaded``, ``feedback_quota`` or ``feedback_unavailable``.
        """
        with self.limiter.acquire():
            jpeg = None if photo is None else await self._decode_pool.decode(self._encode, photo)
            record = FeedbackRecord(
                **feedback.model_dump(),
                received_on=today(),
                photo_jpeg=None if jpeg is None else base64.b64encode(jpeg).decode(),
            )
            receipt = new_receipt(caller.name)
            future = self._threads.submit(self._store.add, receipt, record)
            try:
                await _result_of(future, NOT_STORED)
            except CallerFullError as error:
                raise self._over_quota(error, caller) from error
            except BaseException:
                future.add_done_callback(partial(self._withdraw, receipt))
                raise
            return FeedbackReceipt(receipt=receipt, photo_stored=jpeg is not None)

    async def remove(self, receipt: str) -> None:
        """Delete the feedback of a receipt.

        Raises:
            ApiError: ``not_found``, ``overloaded`` or ``feedback_unavailable``.
        """
        with self.limiter.acquire():
            future = self._threads.submit(self._store.remove, receipt)
            if not await _result_of(future, NOT_DELETED):
                raise ApiError("not_found", UNKNOWN_RECEIPT)

    def _over_quota(self, error: CallerFullError, caller: Caller) -> ApiError:
        return ApiError(
            "feedback_quota",
            f"{floor_text(error.num_bytes / 1e6, 1)} MB of feedback that was sent {sender_of(caller)} are "
            f"stored, at most {self._max_mb_per_address} MB are allowed, and nothing of this one was stored; "
            "delete some by its receipt, or ask the operator of this server",
        )

    def _withdraw(self, receipt: str, added: Future[None]) -> None:
        """Delete a record that was stored after its request had ended."""
        if not added.cancelled() and added.exception() is None:
            self._threads.submit(_log_failure, partial(self._store.remove, receipt))


def create_service(
    context: GatewayContext, rules: Mapping[str, FeedbackRules], leases: LeaseClient | None
) -> FeedbackService | None:
    """Return the service of a gateway; None: no feedback is stored.

    Args:
        rules: by task.
        leases: of the limit of callers without a key.
    """
    config = context.config
    if config.feedback is None:
        return None
    of_caller = config.feedback_max_mb_per_address
    store = FeedbackStore(
        config.feedback,
        max_bytes=config.feedback_max_mb * 1_000_000,
        max_bytes_per_caller=None if of_caller is None else of_caller * 1_000_000,
    )
    return FeedbackService(store, context, rules, leases)


def encode_photo(data: bytes, *, limits: PhotoLimits, jpeg_checked: bool = False) -> bytes:
    """Decode a photo and encode its pixels as a JPEG without metadata, its long side at most 2048 px.

    Raises:
        PhotoError: it is rejected or cannot be decoded.
    """
    photo = decode_bounded(data, max_side_px=STORED_SIDE_PX, limits=limits, jpeg_checked=jpeg_checked)
    file = io.BytesIO()
    Image.fromarray(photo.image_HWC).save(file, "JPEG", quality=STORED_QUALITY)
    return file.getvalue()


async def _result_of(future: Future[_T], message: str) -> _T:
    """Wait for storage work in a thread; ``message`` is that of a failure, except CallerFullError."""
    try:
        async with asyncio.timeout(MAX_STORAGE_S):
            return await asyncio.wrap_future(future)
    except TimeoutError as error:
        logger.error("feedback: the store did not answer within %g s", MAX_STORAGE_S)
        raise ApiError("feedback_unavailable", message) from error
    except CallerFullError:
        raise
    except StorageError as error:
        logger.error("feedback: %s", error)
        is_full = isinstance(error, StoreFullError)
        raise ApiError("feedback_unavailable", FULL if is_full else message) from error


def _log_failure(work: Callable[[], object]) -> None:
    try:
        work()
    except StorageError as error:
        logger.error("feedback whose receipt nobody has stays stored: %s", error)


def _service(request: Request) -> FeedbackService:
    service: FeedbackService | None = request.app.state.feedback
    if service is None:
        raise ApiError("not_found", OFF)
    return service
