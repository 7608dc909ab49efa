"""The gateway with real handles, in one process: Serve's local testing mode, which runs no batches."""

import asyncio
from typing import Any

import httpx
import pytest
import ray.serve
from ray.serve.exceptions import BackPressureError
from ray.serve.handle import DeploymentHandle

from serve.config import GatewayConfig
from serve.gateway import create_app
from serve.messages import FaceReport, LesionReport, ProgressReport, Series, Spot
from serve.schemas import LoadedModel
from serve.stages import ServeStages, StageName
from tests.serve.fakes import LESION_PX, FakeStages, picture, uploads

FAKE = FakeStages()


@ray.serve.deployment
class FakeLesion:
    async def classify(self, spot: Spot) -> LesionReport:
        return await FAKE.classify_lesion(spot)

    async def ping(self) -> None:
        await FAKE.ping("lesion")

    async def describe(self) -> LoadedModel:
        raise BackPressureError(3, 3)


@ray.serve.deployment
class FakeFace:
    async def find(self, image_HWC) -> FaceReport | None:
        return await FAKE.find_face(image_HWC)

    async def ping(self) -> None:
        await FAKE.ping("face")


@ray.serve.deployment
class FakeProgress:
    async def classify(self, series: Series) -> ProgressReport:
        return await FAKE.classify_progress(series)

    async def ping(self) -> None:
        await FAKE.ping("progress")

    async def describe(self) -> None:
        raise BackPressureError(3, 3)


@pytest.fixture(scope="module")
def client() -> httpx.AsyncClient:
    fakes: dict[StageName, Any] = {"lesion": FakeLesion, "face": FakeFace, "progress": FakeProgress}
    handles: dict[StageName, DeploymentHandle] = {
        name: ray.serve.run(fake.bind(), name=name, route_prefix=None, _local_testing_mode=True)
        for name, fake in fakes.items()
    }
    app = create_app(GatewayConfig(), ServeStages(handles, retry_after_s=2), lesion_px=LESION_PX)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server")


async def test_the_gateway_asks_its_handles(client: httpx.AsyncClient):
    lesion = await client.post("/v1/lesion", content=picture())
    progress = await client.post("/v1/progress", files=uploads(picture(), picture()))
    ready = await client.get("/readyz")

    assert lesion.json()["verdict"] == "benign"
    assert progress.json()["verdict"] == "improved"
    assert ready.json()["status"] == "ok"


async def test_a_full_queue_is_answered_as_overload(client: httpx.AsyncClient):
    answer = await client.get("/v1/models")

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "overloaded")
    assert answer.headers["retry-after"] == "2"


async def test_a_call_that_nobody_waits_for_is_called_off(client: httpx.AsyncClient):
    FAKE.delay_s, before = 30, FAKE.num_cancelled
    try:
        headers = {"x-request-timeout-seconds": "0.3"}
        answer = await client.post("/v1/lesion", content=picture(), headers=headers)
        async with asyncio.timeout(10):
            while FAKE.num_cancelled == before:
                await asyncio.sleep(0.01)
    finally:
        FAKE.delay_s = 0

    assert answer.status_code == 504
    assert FAKE.num_cancelled == before + 1
