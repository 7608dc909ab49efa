"""Response lines of ``POST /v1/lesion/batch``."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial

import numpy as np

from models.images import PhotoError
from serve.lesion.reason_texts import translate_reasons
from serve.lesion.schemas import BatchLine, LesionAnswer
from serve.runtime import metrics
from serve.runtime.errors import ApiError, error_detail
from serve.runtime.languages import DEFAULT_LANGUAGE
from serve.runtime.translated_errors import translate_error
from serve.schemas import ErrorDetail

File = bytes | PhotoError
LesionSource = File | np.ndarray
"""A file, or the pixels of a photo, uint8 (H, W, 3), upright."""


async def stream_lines(
    files: Sequence[File],
    classify: Callable[[File], Awaitable[LesionAnswer]],
    *,
    deadline: float,
    request_id: str,
    language: str = DEFAULT_LANGUAGE,
) -> AsyncIterator[bytes]:
    """Yield one line of JSON per file as it finishes: a result or an error.

    Args:
        deadline: on the clock of the event loop; unfinished files become error lines then.
        language: of the messages.
    """
    tasks = [
        asyncio.create_task(_line(index, partial(classify, file), deadline, request_id))
        for index, file in enumerate(files)
    ]
    try:
        for finished in asyncio.as_completed(tasks):
            line = await finished
            if line.error is not None:
                metrics.errors().inc(tags={"code": line.error.code})
            line = _translate(line, language)
            missing = {"result"} if line.result is None else {"error"}
            yield line.model_dump_json(exclude=missing).encode() + b"\n"
    finally:
        for task in tasks:
            task.cancel()


async def _line(
    index: int, classify: Callable[[], Awaitable[LesionAnswer]], deadline: float, request_id: str
) -> BatchLine:
    try:
        async with asyncio.timeout_at(deadline):
            return BatchLine(index=index, result=await classify())
    except (ApiError, PhotoError) as error:
        detail = error_detail(error)
    except TimeoutError:
        message = "no answer was ready in time; send fewer photos at once, or allow more time"
        detail = ErrorDetail(code="deadline_exceeded", message=message)
    except Exception:
        logging.getLogger("skinserve").exception("request %s failed on file %d", request_id, index)
        message = f"the server failed on this photo; report it with the request's id {request_id}"
        detail = ErrorDetail(code="internal", message=message)
    return BatchLine(index=index, error=detail)


def _translate(line: BatchLine, language: str) -> BatchLine:
    result = line.result and translate_reasons(line.result, language)
    error = line.error and translate_error(line.error, language)
    return line.model_copy(update={"result": result, "error": error})
