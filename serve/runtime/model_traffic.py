"""Choose production or canary for each request, and count the answers of both."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass
from typing import Any, Protocol

from fastapi import Request

from models.images import PhotoError
from serve.config import GatewayConfig
from serve.runtime import metrics
from serve.runtime.admission import REQUEST_ID_HEADER
from serve.runtime.callers import caller_of
from serve.runtime.canary_rules import AnswerCounts
from serve.runtime.errors import STATUS, ApiError
from serve.runtime.model_catalog import CatalogEntry, resolve_model
from serve.schemas import Reason

STICKY_CALLERS = ("key:", "jwt:", "address:")
"""Callers whose requests all go to one model. Requests of the page, one caller, are split by request id."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A canary of one task."""

    entry: CatalogEntry
    share: float | None
    """Of the requests that the canary answers; None: shadow."""
    started_at: str
    """Identifies the trial, with the name."""


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """The models of one request."""

    entry: CatalogEntry
    """Answers the request."""
    shadow: CatalogEntry | None = None
    """Computes in the background."""
    is_named: bool = False
    """By the client; such answers are not compared between canary and production."""


class Answer(Protocol):
    """Fields of a response that are compared."""

    @property
    def verdict(self) -> str:
        """The verdict."""
        ...

    @property
    def reasons(self) -> Sequence[Reason]:
        """The reasons."""
        ...


class ModelTraffic:
    """Split the requests of one gateway between models, and count their answers."""

    def __init__(self, config: GatewayConfig) -> None:
        self.trials: dict[str, Trial] = {}
        """By task; replaced by the registry follower."""
        self._has_registry = config.registry is not None
        self._deadline_s = config.default_deadline_s
        self._max_shadows = config.canary.max_shadow_requests
        self._counts: defaultdict[tuple[str, str], AnswerCounts] = defaultdict(AnswerCounts)
        self._shadows: set[asyncio.Task[None]] = set()

    def choose(
        self, task: str, default: CatalogEntry, scope: Mapping[str, Any], request_id: str
    ) -> ModelChoice:
        """Return the models of a request that names none."""
        trial = self.trials.get(task)
        if trial is None:
            return ModelChoice(entry=default)
        if trial.share is None:
            return ModelChoice(entry=default, shadow=trial.entry)
        caller = caller_of(scope).name
        sticky = caller if caller.startswith(STICKY_CALLERS) else request_id
        return ModelChoice(entry=trial.entry if is_in_share(trial, sticky) else default)

    @contextmanager
    def measure(
        self, task: str, entry: CatalogEntry, *, is_compared: bool = True
    ) -> Iterator[Callable[[str, Sequence[Reason]], None]]:
        """Count one answer with its duration; yield a function that takes verdict and reasons.

        Errors of the server count, and requests that are cancelled near their deadline. Rejected photos do
        not.

        Args:
            task: of the model.
            entry: the model.
            is_compared: the answer counts for the automatic rollback.
        """
        began = time.monotonic()

        def count(verdict: str, reasons: Sequence[Reason]) -> None:
            if self._has_registry:
                if is_compared:
                    codes = [one.code for one in reasons]
                    self._counts[task, entry.selector].add_answer(verdict, codes, time.monotonic() - began)
                metrics.model_answers().inc(tags={"task": task, "model": entry.selector, "result": verdict})

        try:
            yield count
        except (Exception, asyncio.CancelledError) as error:
            if self._has_registry and self._is_failure(error, time.monotonic() - began):
                if is_compared:
                    self._counts[task, entry.selector].add_error()
                metrics.model_answers().inc(tags={"task": task, "model": entry.selector, "result": "error"})
            raise

    def run_shadow(
        self, task: str, entry: CatalogEntry, work: Callable[[], Awaitable[Answer]], verdict: str
    ) -> None:
        """Compute an answer in the background and compare its verdict; drop it over the limit."""
        if len(self._shadows) >= self._max_shadows:
            metrics.shadow_answers().inc(tags={"task": task, "result": "dropped"})
            return

        async def run() -> None:
            result = "error"
            try:
                async with asyncio.timeout(self._deadline_s):
                    with self.measure(task, entry) as count:
                        answer = await work()
                        count(answer.verdict, answer.reasons)
                result = "same" if answer.verdict == verdict else "different"
            except (ApiError, PhotoError, TimeoutError):
                pass
            except Exception:
                logging.getLogger("skinserve").exception("shadow model %s of %s failed", entry.selector, task)
            metrics.shadow_answers().inc(tags={"task": task, "result": result})

        # In a context of its own: Serve cancels the calls of a request whose client disconnects.
        shadow = asyncio.get_running_loop().create_task(run(), context=Context())
        self._shadows.add(shadow)
        shadow.add_done_callback(self._shadows.discard)

    def take_counts(self) -> dict[tuple[str, str], AnswerCounts]:
        """Return the counts since the last call, by task and ``name@version``."""
        counts, self._counts = self._counts, defaultdict(AnswerCounts)
        return dict(counts)

    def _is_failure(self, error: BaseException, elapsed_s: float) -> bool:
        if isinstance(error, asyncio.CancelledError):
            return elapsed_s > 0.9 * self._deadline_s
        if isinstance(error, ApiError):
            return STATUS[error.code] >= 500
        return not isinstance(error, PhotoError)


def choose_model(request: Request, task: str, selector: str | None) -> ModelChoice:
    """Return the models of a request: the named one, else production or its canary.

    Raises:
        ApiError: ``not_found``, with the models that exist.
    """
    entry = resolve_model(request.app.state.catalogs, task, selector)
    if selector is not None:
        return ModelChoice(entry=entry, is_named=True)
    traffic: ModelTraffic = request.app.state.traffic
    return traffic.choose(task, entry, request.scope, request.headers.get(REQUEST_ID_HEADER, ""))


def is_in_share(trial: Trial, sticky: str) -> bool:
    """Return whether the canary answers; a larger share includes the callers of a smaller one."""
    digest = hashlib.sha256(f"{trial.entry.selector} {sticky}".encode()).digest()
    return int.from_bytes(digest[:8]) < (trial.share or 0) * 2**64
