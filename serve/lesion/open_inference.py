"""Registration of the lesion task for the Open Inference Protocol."""

import asyncio
from collections.abc import Sequence
from functools import lru_cache

from fastapi import Request

from models.images import PhotoError
from models.limits import DEFAULT_TOP_K, MAX_TOP_K
from serve.lesion.api import LesionOptions, LesionService, lesion_options, lesion_service
from serve.lesion.batch import LesionSource
from serve.lesion.output_tensors import ANSWER, ERROR, Result, output_tensors
from serve.open_inference.binary_tensors import invalid
from serve.open_inference.messages import (
    BYTES,
    InferenceRequest,
    InferenceResult,
    OpenInferenceTask,
    TensorSpec,
)
from serve.runtime import metrics
from serve.runtime.admission import request_slot
from serve.runtime.auth import BULK, check_role
from serve.runtime.callers import caller_of
from serve.runtime.errors import ApiError, error_detail
from serve.runtime.model_catalog import CatalogEntry
from serve.runtime.rate_limits import count_photos

PHOTO, IMAGE = "photo", "image"
INPUTS = (
    TensorSpec(name=PHOTO, datatype=BYTES, shape=(-1,)),
    TensorSpec(name=IMAGE, datatype="UINT8", shape=(-1, -1, -1, 3)),
)
PARAMETERS = ("explain", "top_k")
"""Of the output ``answer``."""


def outputs(entry: CatalogEntry) -> tuple[TensorSpec, ...]:
    """Return the outputs of a model."""
    return _outputs(entry.meta.labels)


@lru_cache
def _outputs(labels: tuple[str, ...]) -> tuple[TensorSpec, ...]:
    return (
        TensorSpec(name="verdict", datatype=BYTES, shape=(-1,)),
        TensorSpec(name="reasons", datatype=BYTES, shape=(-1,)),
        TensorSpec(name="usable", datatype="BOOL", shape=(-1,)),
        TensorSpec(name="malignant_probability", datatype="FP32", shape=(-1,)),
        TensorSpec(name="diagnosis", datatype=BYTES, shape=(-1,)),
        TensorSpec(
            name="diagnoses", datatype="FP32", shape=(-1, len(labels)), parameters={"labels": list(labels)}
        ),
        TensorSpec(name="lesion_box", datatype="INT32", shape=(-1, 4)),
        TensorSpec(name="labels", datatype=BYTES, shape=(len(labels),), is_default=False),
        TensorSpec(name=ANSWER, datatype=BYTES, shape=(-1,), is_default=False),
        TensorSpec(name=ERROR, datatype=BYTES, shape=(-1,), is_default=False),
    )


async def infer(request: Request, selector: str | None, sent: InferenceRequest) -> InferenceResult:
    """Classify the photos of a request.

    A photo that cannot be classified fails the request, unless it requests the output ``error``.

    Raises:
        ApiError: the request is invalid, or exceeds a limit.
        PhotoError: a photo was rejected or cannot be decoded.
    """
    service = lesion_service(request)
    photos = _photos(sent, service)
    explain, top_k = _parameters(sent)
    options = lesion_options(request, explain=explain, top_k=MAX_TOP_K, box=None, model=selector)
    if len(photos) > 1:
        check_role(caller_of(request.scope), BULK, "a request of several photos")
        request_slot(request).enter_context(service.batch_limiter.acquire())
    await count_photos(request, len(photos))
    results = await _classify(service, options, photos, keep_errors=ERROR in sent.outputs)
    tensors = output_tensors(sent.outputs, results, options.entry.meta.labels, top_k=top_k)
    return InferenceResult(entry=options.entry, num_photos=len(photos), outputs=tensors)


def _photos(sent: InferenceRequest, service: LesionService) -> list[LesionSource]:
    if len(sent.inputs) != 1:
        raise invalid(f"the request has {len(sent.inputs)} inputs", f"send one: {PHOTO} or {IMAGE}")
    photos: list[LesionSource] = list(next(iter(sent.inputs.values())))
    limit = service.config.max_batch_photos
    if not photos:
        raise invalid("the input has no photo", f"send 1 to {limit}")
    if len(photos) > limit:
        raise ApiError("too_many_photos", f"{len(photos)} photos were sent; send at most {limit}")
    return photos


def _parameters(sent: InferenceRequest) -> tuple[bool, int]:
    """Return ``explain`` and ``top_k``, which have an effect on the output ``answer`` only."""
    if sent.parameters and ANSWER not in sent.outputs:
        name = next(iter(sent.parameters))
        raise invalid(f"parameter {name} has no effect", f"request the output {ANSWER}, or leave it out")
    explain, top_k = sent.parameters.get("explain", False), sent.parameters.get("top_k", DEFAULT_TOP_K)
    if not isinstance(explain, bool):
        raise invalid(f"parameter explain is {explain!r}", "send true or false")
    if type(top_k) is not int or not 1 <= top_k <= MAX_TOP_K:
        raise invalid(f"parameter top_k is {str(top_k)[:40]!r}", f"send a number from 1 to {MAX_TOP_K}")
    return explain, top_k


async def _classify(
    service: LesionService, options: LesionOptions, photos: Sequence[LesionSource], *, keep_errors: bool
) -> list[Result]:
    """Classify all photos at once; one alone is rejected under overload, several wait as those of a batch."""
    classify = service.classify if len(photos) == 1 else service.classify_or_wait

    async def classify_one(index: int, photo: LesionSource) -> Result:
        try:
            return await classify(photo, options)
        except PhotoError as error:
            if keep_errors:
                detail = error_detail(error)
                metrics.errors().inc(tags={"code": detail.code})
                return detail
            if len(photos) == 1:
                raise
            raise type(error)(f"photo {index + 1} of {len(photos)}: {error}") from error

    if len(photos) == 1:
        return [await classify_one(0, photos[0])]
    work = [asyncio.ensure_future(classify_one(index, photo)) for index, photo in enumerate(photos)]
    try:
        return await asyncio.gather(*work)
    finally:
        for one in work:
            one.cancel()


OPEN_INFERENCE = OpenInferenceTask(
    deployments=("lesion",), inputs=INPUTS, outputs=outputs, parameters=PARAMETERS, infer=infer
)
