"""A gateway with jobs in this process: the runner without Ray."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
from fastapi import FastAPI

from models.storage_errors import StorageError
from serve.config import GatewayConfig
from serve.gateway import create_app
from serve.jobs.config import JobsConfig
from serve.jobs.job_work import LostGatewayError
from serve.jobs.metrics import JobMetrics
from serve.jobs.records import JobRecord
from serve.jobs.runner import JobRunner, Rejection
from serve.jobs.scorer import PartFailure, PartRequest, PartScorer, ScoredPart
from serve.jobs.store import new_id
from serve.runtime.errors import ApiError
from tests.serve.fakes import FakeModels, picture, services
from tests.serve.jobs.archives import zip_of


@dataclass
class LocalGateways:
    """Gateways that score in this process; the first calls raise or return ``failures``, one each."""

    scorer: PartScorer | None = None
    failures: list[Exception | PartFailure] = field(default_factory=list)
    failing: str | None = None
    """Parts of this job cannot be scored."""
    waiting: str | None = None
    """Only parts of this job wait for ``gate``."""
    poison: str | None = None
    """The only gateway ends on a photo with this text in its name, and with it all calls in progress."""
    num_ended: int = 0
    requests: list[PartRequest] = field(default_factory=list)
    names: dict[tuple[str, int], list[str]] = field(default_factory=dict)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """Calls wait for it."""

    def __post_init__(self) -> None:
        self.gate.set()

    async def score(self, request: PartRequest) -> ScoredPart | PartFailure:
        self.requests.append(request)
        if self.waiting in (None, request.job):
            await self.gate.wait()
        if request.job == self.failing:
            return PartFailure(reason="photos of the job cannot be read")
        if self.failures:
            failure = self.failures.pop(0)
            if isinstance(failure, PartFailure):
                return failure
            raise failure
        assert self.scorer is not None
        num_ended = self.num_ended
        scored = await self.scorer.score(request)
        if self.poison and isinstance(scored, ScoredPart) and self.poison.encode() in scored.rows:
            self.num_ended += 1
        if self.num_ended > num_ended:
            raise LostGatewayError("killed")
        return scored

    async def wait(self) -> None: ...


class LocalJobs:
    """In place of the client of the actor."""

    def __init__(self, config: JobsConfig, gateways: LocalGateways) -> None:
        self.runner = JobRunner(config, gateways, JobMetrics("api"), sweep_s=0.2)

    def start(self) -> None:
        self.runner.start()

    async def close(self) -> None:
        await self.runner.close()

    async def reserve(self, id: str, caller: str) -> str | Rejection:
        while not self.runner.is_loaded:
            await asyncio.sleep(0.01)
        return self.runner.reserve(id, caller)

    async def release(self, id: str) -> None:
        await self.runner.release(id)

    async def add(self, record: JobRecord) -> None:
        self.runner.add(record)

    async def delete(self, id: str) -> bool:
        try:
            return await self.runner.delete(id)
        except StorageError as error:
            raise ApiError("jobs_unavailable", "not now") from error

    async def records(self, caller: str | None, limit: int) -> list[JobRecord]:
        return self.runner.records(caller, limit)


@dataclass
class LocalServer:
    """One gateway, its jobs and a client."""

    app: FastAPI
    http: httpx.AsyncClient
    gateways: LocalGateways
    jobs: LocalJobs
    models: FakeModels

    async def post(self, archive: bytes, expected: int = 202, **options: Any) -> dict[str, Any]:
        answer = await self.http.post("/v1/jobs", content=archive, **options)
        assert answer.status_code == expected, answer.text
        return answer.json()

    async def wait(self, id: str, *states: str) -> dict[str, Any]:
        """Wait until a job has one of these states, done by default."""
        async with asyncio.timeout(20):
            while True:
                job = (await self.http.get(f"/v1/jobs/{id}")).json()
                if job["state"] in (states or ("done",)):
                    return job
                await asyncio.sleep(0.02)

    async def rows(self, id: str) -> list[dict[str, Any]]:
        answer = await self.http.get(f"/v1/jobs/{id}/results")
        assert answer.status_code == 200, answer.text
        return [json.loads(line) for line in answer.text.splitlines()]


@contextlib.asynccontextmanager
async def local_server(
    folder: object, models: FakeModels | None = None, gateway: dict[str, Any] | None = None, **jobs: Any
) -> AsyncIterator[LocalServer]:
    """Run a gateway with jobs in ``folder`` and settings of ``gateway.jobs``."""
    models, gateways = models or FakeModels(), LocalGateways()
    config = GatewayConfig.model_validate({"jobs": {"folder": str(folder), **jobs}, **(gateway or {})})
    assert config.jobs is not None
    local = LocalJobs(config.jobs, gateways)
    app = create_app(config, services(), models.replicas, jobs=local)
    gateways.scorer = app.state.jobs.scorer
    local.start()
    try:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as http:
            yield LocalServer(app, http, gateways, local, models)
    finally:
        await local.close()


def record(**changes: Any) -> JobRecord:
    fields = {
        "id": new_id(),
        "caller": "key:a",
        "task": "lesion",
        "model": "lesion-fake@1",
        "source": None,
        "request_id": "abc",
        "created_at": "2026-11-27T00:00:00Z",
        "num_photos": 1,
        "num_parts": 1,
    }
    return JobRecord.model_validate(fields | changes)


def archive(number: int, name: str = "{}.jpg") -> bytes:
    return zip_of({name.format(index): picture() for index in range(number)})


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)
