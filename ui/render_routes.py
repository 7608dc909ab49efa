"""``POST render/...``: render JSON answers of the API as HTML; photos are never sent here."""

import asyncio
from typing import TypeVar

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ValidationError

from serve.lesion.schemas import LesionAnswer
from serve.progress.schemas import ProgressAnswer
from serve.runtime.forwarded_headers import CLIENT_ADDRESS
from serve.schemas import LoadedModel, Models
from ui.client import ApiClient, ApiError
from ui.errors import PageError
from ui.request_body import read_body
from ui.tabs.about import about_models
from ui.tabs.lesion_result import lesion_fragment
from ui.tabs.progress_result import progress_card
from ui.tabs.verdict_errors import VerdictErrors, verdict_errors
from ui.translation import language_of

_Answer = TypeVar("_Answer", bound=BaseModel)

MAX_BODY_BYTES = 4_000_000
_MODELS_TIMEOUT_S = 2
"""An answer does not wait longer for the metrics of its network."""


def add_render_routes(site: FastAPI, api: ApiClient) -> None:
    """Add the routes.

    Args:
        api: for the metrics of the network behind an answer; they are kept for the next answers.
    """
    metrics = _Metrics(api)

    @site.post("/render/lesion", response_class=HTMLResponse)
    async def lesion(request: Request) -> str:
        answer = await _parse(request, LesionAnswer)
        errors = await metrics.errors_of(answer, request.scope.get(CLIENT_ADDRESS))
        return lesion_fragment(answer, errors, language_of(request.scope))

    @site.post("/render/progress", response_class=HTMLResponse)
    async def progress(request: Request) -> str:
        return progress_card(await _parse(request, ProgressAnswer), language_of(request.scope))

    @site.post("/render/models", response_class=HTMLResponse)
    async def models(request: Request) -> str:
        return about_models((await _parse(request, Models)).models, language_of(request.scope))


async def _parse(request: Request, kind: type[_Answer]) -> _Answer:
    body = await read_body(request, max_bytes=MAX_BODY_BYTES)
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the body"
        message = f"{place} is invalid: {first['msg']}; server and page may be of different versions"
        raise PageError(422, "invalid_request", message) from error


class _Metrics:
    """The wrong verdicts of the network that answered last."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api
        self._model: LoadedModel | None = None

    async def errors_of(self, answer: LesionAnswer, address: str | None) -> VerdictErrors | None:
        """Return how often the network is wrong, from its metrics at the thresholds of the answer.

        Args:
            address: of the visitor, whose limit of requests applies.
        """
        if not answer.usable:
            return None
        model = self._model
        if not _is_model_of(model, answer):
            try:
                loaded = await asyncio.wait_for(self._api.for_visitor(address).models(), _MODELS_TIMEOUT_S)
            except (ApiError, TimeoutError):
                return None
            model = self._model = next((one for one in loaded.models if _is_model_of(one, answer)), None)
        return verdict_errors(model) if model else None


def _is_model_of(model: LoadedModel | None, answer: LesionAnswer) -> bool:
    if model is None or (model.name, model.version) != (answer.model.name, answer.model.version):
        return False
    malignant = model.thresholds.get("malignant")
    return (model.thresholds.get("benign", malignant), malignant) == (
        answer.benign_threshold,
        answer.threshold,
    )
