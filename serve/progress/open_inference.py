"""Registration of the progress task for the Open Inference Protocol: a request is one series of photos."""

import json
from collections.abc import Sequence

import numpy as np
from fastapi import Request

from serve.open_inference.binary_tensors import invalid
from serve.open_inference.messages import (
    BYTES,
    Data,
    InferenceRequest,
    InferenceResult,
    OpenInferenceTask,
    TensorSpec,
)
from serve.progress.api import progress_service
from serve.progress.photo_order import read_times
from serve.progress.schemas import ProgressAnswer
from serve.progress.skincredible import check_num_photos
from serve.runtime.auth import PREDICT, check_role
from serve.runtime.callers import caller_of
from serve.runtime.model_catalog import CatalogEntry
from serve.runtime.model_traffic import choose_model
from serve.runtime.rate_limits import count_photos

PHOTO, TAKEN_AT = "photo", "taken_at"
INPUTS = (
    TensorSpec(name=PHOTO, datatype=BYTES, shape=(-1,)),
    TensorSpec(name=TAKEN_AT, datatype=BYTES, shape=(-1,), is_text=True, parameters={"optional": True}),
)
OUTPUTS = (
    TensorSpec(name="verdict", datatype=BYTES, shape=(1,)),
    TensorSpec(name="reasons", datatype=BYTES, shape=(1,)),
    TensorSpec(name="improved_probability", datatype="FP32", shape=(1,)),
    TensorSpec(name="worsened_probability", datatype="FP32", shape=(1,)),
    TensorSpec(name="answer", datatype=BYTES, shape=(1,), is_default=False),
)


def outputs(entry: CatalogEntry) -> tuple[TensorSpec, ...]:
    """Return the outputs of a model, which are the same for all."""
    return OUTPUTS


async def infer(request: Request, selector: str | None, sent: InferenceRequest) -> InferenceResult:
    """Classify the series of a request.

    Raises:
        ApiError: the request is invalid, exceeds a limit or shows no face.
        PhotoError: a photo was rejected or cannot be decoded.
    """
    service = progress_service(request)
    check_role(caller_of(request.scope), PREDICT, "a series of photos")
    choice = choose_model(request, "progress", selector)
    photos = _bytes(sent.inputs.get(PHOTO))
    if photos is None:
        raise invalid(f"the request has no input {PHOTO!r}", "send the photos of one series")
    check_num_photos(len(photos), at_most=service.config.max_series_photos)
    sent_times = [one.decode("utf-8", "replace") for one in _bytes(sent.inputs.get(TAKEN_AT)) or ()]
    times = read_times(sent_times, len(photos))
    await count_photos(request, len(photos))
    answer = await service.classify(photos, times, choice)
    return InferenceResult(entry=choice.entry, num_photos=len(photos), outputs=output_tensors(answer))


def output_tensors(answer: ProgressAnswer) -> dict[str, Data]:
    """Return all outputs."""
    reasons = json.dumps([reason.model_dump() for reason in answer.reasons], ensure_ascii=False)
    return {
        "verdict": [answer.verdict.encode()],
        "reasons": [reasons.encode()],
        "improved_probability": np.array([answer.improved_probability], np.float32),
        "worsened_probability": np.array([answer.worsened_probability], np.float32),
        "answer": [answer.model_dump_json().encode()],
    }


def _bytes(data: Data | None) -> Sequence[bytes] | None:
    assert not isinstance(data, np.ndarray)  # both inputs are BYTES
    return data


OPEN_INFERENCE = OpenInferenceTask(
    deployments=("face", "progress"), inputs=INPUTS, outputs=outputs, parameters=(), infer=infer
)
