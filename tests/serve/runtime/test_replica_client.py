"""The gateway with real handles, in one process: Serve's local testing mode, which runs no batches."""

import asyncio
from typing import Any

import httpx
import numpy as np
import pytest
import ray.serve
from grpc import StatusCode
from grpc.aio import AioRpcError, Metadata
from ray.exceptions import ActorUnavailableError, RayActorError
from ray.serve.exceptions import BackPressureError
from ray.serve.handle import DeploymentHandle

from serve.config import GatewayConfig
from serve.gateway import create_app
from serve.messages import FaceReport, Full, LesionReport, ProgressReport, Series, Spot
from serve.runtime.errors import ApiError, QueueFullError
from serve.runtime.replica_client import ServeStages, StageName
from serve.schemas import LoadedModel
from tests.serve.fakes import LESION_PX, FakeStages, picture, uploads

FAKE = FakeStages()


@ray.serve.deployment
class FakeLesion:
    async def classify(self, spots: list[Spot]) -> list[LesionReport]:
        return [await FAKE.classify_lesion(spot) for spot in spots]

    async def check_health(self) -> None:
        await FAKE.ping("lesion")

    async def describe(self) -> LoadedModel:
        raise BackPressureError(3, 3)


@ray.serve.deployment
class FakeFace:
    async def find(self, image_HWC) -> FaceReport | None:
        return await FAKE.find_face(image_HWC)

    async def check_health(self) -> None:
        await FAKE.ping("face")


@ray.serve.deployment
class FakeProgress:
    async def classify(self, series: Series) -> ProgressReport:
        return await FAKE.classify_progress(series)

    async def check_health(self) -> None:
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
    app = create_app(
        GatewayConfig(), ServeStages(handles, bundle_from=8, retry_after_s=2), lesion_px=LESION_PX
    )
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


FULL = Full(num_photos=3)


@pytest.mark.parametrize(
    "loss",
    [
        RayActorError(),
        ActorUnavailableError("gone", b"0" * 16),
        AioRpcError(StatusCode.UNAVAILABLE, Metadata(), Metadata(), details="Socket closed"),
        RuntimeError("Unexpected error (StatusCode.UNAVAILABLE): Socket closed."),
        asyncio.CancelledError(),
    ],
    ids=lambda loss: type(loss).__name__,
)
async def test_a_call_over_which_the_replica_was_lost_is_asked_once_more(loss: Exception):
    once = stages_that_answer(loss, "an answer")
    twice = stages_that_answer(loss, loss, "an answer")

    assert await once.classify_lesion(SPOT) == "an answer"
    with pytest.raises(ApiError, match="lesion stage is being restarted") as refusal:
        await twice.classify_lesion(SPOT)

    assert refusal.value.code == "overloaded" and not isinstance(refusal.value, QueueFullError)


@pytest.mark.parametrize("full", [[BackPressureError(3, 3)], [FULL, FULL]], ids=["calls", "photos"])
async def test_a_full_queue_is_told_from_other_overload(full: list[BaseException | Full]):
    with pytest.raises(QueueFullError, match="queue of photos is full; try again in 2 s"):
        await stages_that_answer(*full).classify_lesion(SPOT)


async def test_when_a_replica_is_full_another_one_is_asked():
    assert await stages_that_answer(FULL, "an answer").classify_lesion(SPOT) == "an answer"


async def test_several_spots_in_one_call_are_asked_once_more_when_the_replica_is_lost():
    stages = stages_that_answer("first", RayActorError(), FULL, FULL, "answers", bundle_from=1)

    asked = [asyncio.create_task(stages.classify_lesion(SPOT)) for _ in range(4)]

    assert await asyncio.gather(*asked) == ["first", "answers", "answers", "answers"]


async def test_who_lost_a_replica_waits_while_the_others_are_full():
    full = BackPressureError(3, 3)
    stages = stages_that_answer(RayActorError(), full, full, "an answer")

    assert await stages.classify_lesion(SPOT) == "an answer"


async def test_an_error_of_our_code_is_not_asked_again():
    error = ValueError("not our day")
    stages = stages_that_answer(error, "an answer")

    with pytest.raises(ValueError, match="not our day"):
        await stages.classify_lesion(SPOT)


SPOT = Spot(image_HWC=np.zeros((2, 2, 3), np.uint8))


def stages_that_answer(*outcomes: BaseException | Full | str, bundle_from: int = 8) -> ServeStages:
    """Stages whose handle gives one outcome after the other."""
    left = list(outcomes)

    class Handle:
        classify: "Handle"

        def remote(self, spots: list[Spot]) -> Any:
            async def answer() -> Full | list[str]:
                outcome = left.pop(0)
                if isinstance(outcome, BaseException):
                    raise outcome
                return outcome if isinstance(outcome, Full) else [outcome] * len(spots)

            return answer()

    handle: Any = Handle()
    handle.classify = handle
    return ServeStages({"lesion": handle}, bundle_from=bundle_from, retry_after_s=2)
