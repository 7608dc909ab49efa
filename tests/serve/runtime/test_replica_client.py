"""The gateway on real handles, in one process: Serve's local testing mode, which runs no batches."""

import asyncio
from typing import Any

import httpx
import pytest
import ray.serve
from grpc import StatusCode
from grpc.aio import AioRpcError, Metadata
from ray.exceptions import ActorUnavailableError, RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from serve.config import GatewayConfig
from serve.gateway import create_app
from serve.lesion.messages import LesionPhoto, LesionReport
from serve.progress.messages import FaceReport, FaceSeries, ProgressReport
from serve.runtime.errors import ApiError, QueueFullError
from serve.runtime.model_cache import LoadFailed
from serve.runtime.replica_client import LocalModelClient, Overloaded, ReplicaClient, RequestCoalescer
from tests.serve.fakes import FakeModels, picture, services, uploads

FAKE = FakeModels()


@ray.serve.deployment
class FakeLesion:
    async def classify(self, photos: list[LesionPhoto]) -> list[LesionReport]:
        return await FAKE.classify_lesions(photos)

    async def check_health(self) -> None:
        await FAKE.check_health("lesion")

    async def describe(self) -> None:
        raise BackPressureError(3, 3)


@ray.serve.deployment
class FakeFace:
    async def detect(self, image_HWC, crop_px: int) -> FaceReport | None:
        return await FAKE.detect_face(image_HWC, crop_px)

    async def check_health(self) -> None:
        await FAKE.check_health("face")


@ray.serve.deployment
class FakeProgress:
    async def classify(self, series: FaceSeries) -> ProgressReport:
        return await FAKE.classify_series(series)

    async def check_health(self) -> None:
        await FAKE.check_health("progress")

    async def describe(self) -> None:
        raise BackPressureError(3, 3)


@pytest.fixture(scope="module")
def client() -> httpx.AsyncClient:
    fakes: dict[str, Any] = {"lesion": FakeLesion, "face": FakeFace, "progress": FakeProgress}
    replicas: dict[str, ReplicaClient] = {}
    for name, fake in fakes.items():
        handle = ray.serve.run(fake.bind(), name=name, route_prefix=None, _local_testing_mode=True)
        replicas[name] = ReplicaClient(name, handle, retry_after_s=2)
    app = create_app(GatewayConfig(), services(), replicas)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server")


async def test_the_gateway_calls_its_handles(client: httpx.AsyncClient):
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


async def test_a_call_is_cancelled_at_the_deadline_of_its_request(client: httpx.AsyncClient):
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


OVERLOADED = Overloaded(num_photos=3)


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
async def test_a_call_whose_replica_is_lost_is_repeated_once(loss: Exception):
    once = client_of(loss, "result")
    twice = client_of(loss, loss, "result")

    assert await once.call("classify", [1]) == ["result"]
    with pytest.raises(ApiError, match="lesion model is being restarted") as error:
        await twice.call("classify", [1])

    assert error.value.code == "overloaded" and not isinstance(error.value, QueueFullError)


@pytest.mark.parametrize(
    "full", [[BackPressureError(3, 3)], [OVERLOADED, OVERLOADED]], ids=["calls", "photos"]
)
async def test_a_full_queue_raises_another_error_than_other_overload(full: list[BaseException | Overloaded]):
    with pytest.raises(QueueFullError, match="try again in 2 s"):
        await client_of(*full).call("classify", [1])


async def test_a_rejected_call_is_sent_to_another_replica():
    assert await client_of(OVERLOADED, "result").call("classify", [1]) == ["result"]


async def test_a_coalesced_call_is_repeated_when_its_replica_is_lost():
    client = client_of("first", RayActorError(), OVERLOADED, OVERLOADED, "result")
    coalescer = RequestCoalescer[int, str](lambda numbers: client.call("classify", numbers), threshold=1)

    submitted = [asyncio.create_task(coalescer.submit(number)) for number in range(4)]

    assert await asyncio.gather(*submitted) == ["first", "result", "result", "result"]


async def test_a_repeated_call_waits_while_the_other_replicas_are_full():
    full = BackPressureError(3, 3)

    assert await client_of(RayActorError(), full, full, "result").call("classify", [1]) == ["result"]


async def test_a_call_that_failed_in_our_code_is_not_repeated():
    with pytest.raises(ValueError, match="a bug"):
        await client_of(ValueError("a bug"), "result").call("classify", [1])


def client_of(*outcomes: BaseException | Overloaded | str) -> ReplicaClient:
    """A client whose handle gives one outcome after the other."""
    left = list(outcomes)

    class Handle:
        classify: "Handle"

        def remote(self, requests: list[int]) -> Any:
            async def result() -> Overloaded | list[str]:
                outcome = left.pop(0)
                if isinstance(outcome, BaseException):
                    raise outcome
                return outcome if isinstance(outcome, Overloaded) else [outcome] * len(requests)

            return result()

    handle: Any = Handle()
    handle.classify = handle
    return ReplicaClient("lesion", handle, retry_after_s=2)


class Local:
    """Fails as a deployment's class does."""

    async def classify(self, photos: list[str], model: str = "") -> list[str] | Overloaded | LoadFailed:
        if model == "damaged":
            return LoadFailed(reason="CheckpointError: damaged")
        return Overloaded(num_photos=24) if len(photos) > 2 else [f"{photo} by {model}" for photo in photos]

    async def check_health(self) -> None:
        raise RuntimeError("stuck")


async def test_a_network_in_the_gateway_answers_and_rejects_as_replicas_do():
    client = LocalModelClient(Local(), retry_after_s=3)

    assert await client.call("classify", ["a"], model="other") == ["a by other"]
    assert await client.broadcast("classify", ["a", "b"], timeout_s=1) == [["a by ", "b by "]]
    with pytest.raises(QueueFullError):
        await client.call("classify", ["a", "b", "c"])
    with pytest.raises(ApiError) as caught:
        await client.call("classify", ["a"], model="damaged")
    assert caught.value.code == "model_unavailable"
    with pytest.raises(RuntimeError, match="stuck"):
        await client.check_health()


async def test_a_broadcast_before_the_first_replica_runs_has_no_results():
    class UnavailableHandle:
        def broadcast(self, *_: object) -> None:
            raise DeploymentUnavailableError("LesionClassifier")  # pyright: ignore[reportArgumentType]

    client = ReplicaClient("lesion", UnavailableHandle(), retry_after_s=2)  # pyright: ignore[reportArgumentType]

    assert await client.broadcast("preload", "folder", timeout_s=1) == []
