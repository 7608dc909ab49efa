"""``POST render/...``: render JSON answers of the API as HTML; photos are never sent here."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ValidationError

from serve.lesion.schemas import LesionAnswer
from serve.progress.schemas import ProgressAnswer, VerdictThresholds
from serve.runtime.forwarded_headers import CLIENT_ADDRESS
from serve.schemas import LoadedModel, Models
from ui.client import ApiClient, ApiError
from ui.errors import PageError
from ui.request_body import read_body
from ui.tabs.about import about_models
from ui.tabs.change_thresholds import thresholds_of
from ui.tabs.lesion_result import lesion_fragment
from ui.tabs.progress_result import progress_card
from ui.tabs.verdict_errors import verdict_errors
from ui.translation import language_of

_Body = TypeVar("_Body", bound=BaseModel)
_Answer = TypeVar("_Answer", LesionAnswer, ProgressAnswer)

MAX_BODY_BYTES = 4_000_000
_MODELS_TIMEOUT_S = 2
"""An answer does not wait longer for the metrics of its network."""


def add_render_routes(site: FastAPI, api: ApiClient) -> None:
    """Add the routes.

    Args:
        api: for the metrics of the network behind an answer; they are kept for the next answers.
    """
    lesion_models = _AnsweringModel(api, "lesion", _has_lesion_thresholds)
    progress_models = _AnsweringModel(api, "progress", _has_progress_thresholds)

    @site.post("/render/lesion", response_class=HTMLResponse)
    async def lesion(request: Request) -> str:
        answer = await _parse(request, LesionAnswer)
        address = request.scope.get(CLIENT_ADDRESS)
        model = await lesion_models.find(answer, address) if answer.usable else None
        return lesion_fragment(answer, verdict_errors(model) if model else None, language_of(request.scope))

    @site.post("/render/progress", response_class=HTMLResponse)
    async def progress(request: Request) -> str:
        answer = await _parse(request, ProgressAnswer)
        is_change = answer.verdict in ("improved", "worsened")
        model = await progress_models.find(answer, request.scope.get(CLIENT_ADDRESS)) if is_change else None
        return progress_card(answer, language_of(request.scope), model)

    @site.post("/render/models", response_class=HTMLResponse)
    async def models(request: Request) -> str:
        return about_models((await _parse(request, Models)).models, language_of(request.scope))


async def _parse(request: Request, kind: type[_Body]) -> _Body:
    body = await read_body(request, max_bytes=MAX_BODY_BYTES)
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the body"
        message = f"{place} is invalid: {first['msg']}; server and page may be of different versions"
        raise PageError(422, "invalid_request", message) from error


class _AnsweringModel(Generic[_Answer]):
    """The network that answered last, with its metrics; one request of the API for all its answers.

    Args:
        task: of the network, as ``kind`` in ``GET /v1/models``.
        has_thresholds: whether a network has the thresholds of an answer; its metrics hold for these only.
    """

    def __init__(
        self, api: ApiClient, task: str, has_thresholds: Callable[[LoadedModel, _Answer], bool]
    ) -> None:
        self._api = api
        self._task = task
        self._has_thresholds = has_thresholds
        self._model: LoadedModel | None = None

    async def find(self, answer: _Answer, address: str | None) -> LoadedModel | None:
        """Return the network behind an answer; None if the API fails or does not list it.

        Args:
            address: of the visitor, whose limit of requests applies.
        """
        if self._model is None or not self._matches(self._model, answer):
            try:
                loaded = await asyncio.wait_for(self._api.for_visitor(address).models(), _MODELS_TIMEOUT_S)
            except (ApiError, TimeoutError):
                return None
            self._model = next((one for one in loaded.models if self._matches(one, answer)), None)
        return self._model

    def _matches(self, model: LoadedModel, answer: _Answer) -> bool:
        named = answer.model
        return (model.kind, model.name, model.version) == (
            self._task,
            named.name,
            named.version,
        ) and self._has_thresholds(model, answer)


def _has_lesion_thresholds(model: LoadedModel, answer: LesionAnswer) -> bool:
    malignant = model.thresholds.get("malignant")
    return (model.thresholds.get("benign", malignant), malignant) == (
        answer.benign_threshold,
        answer.threshold,
    )


def _has_progress_thresholds(model: LoadedModel, answer: ProgressAnswer) -> bool:
    return VerdictThresholds.of(model.thresholds) == thresholds_of(answer)
