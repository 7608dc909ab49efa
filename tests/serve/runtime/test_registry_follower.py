import asyncio
import logging
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from ray.serve.exceptions import DeploymentUnavailableError

from models.checkpoint import META, save_checkpoint
from models.lesion.small_network import SmallLesionNet
from models.registry import Registry
from models.registry_index import Index, VersionName, parse_version_name
from models.s3_client import s3_client
from serve.runtime.canary_monitor import CanaryMonitor, Rollback, TrialReport
from serve.runtime.registry_follower import REPORT_INTERVAL_S, TaskFollower
from tests.local_bucket import s3_server
from tests.random_checkpoints import SMALL_ARCHITECTURE, drawn_localizer, random_gate, random_meta
from tests.serve.fakes import FakeModels, FakeReplicas, fake_app, picture

ONE, TWO = VersionName("net", "1"), VersionName("net", "2")
POLL_S = 0.05
Change = Callable[[Index], Index]


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """A registry with three versions, of which the third has a gate."""
    registry = Registry(str(tmp_path / "registry"))
    net = SmallLesionNet(num_diagnoses=2, input_px=64)
    for version in "123":
        folder = tmp_path / version
        gate = random_gate() if version == "3" else None
        meta = random_meta(
            "lesion",
            architecture=SMALL_ARCHITECTURE,
            name="net",
            version=version,
            gate=None if gate is None else gate.model_dump(),
        )
        localizer = None if gate is None else drawn_localizer()
        save_checkpoint(folder, net, meta, "# Card\n", localizer_onnx=localizer)
        registry.push(str(folder))
    return registry


def promoted(text: str) -> Change:
    return lambda index: index.with_production(parse_version_name(text))


class Api:
    """The API on fake models, which follows a registry."""

    def __init__(
        self, client: TestClient, models: FakeModels, address: str, num_syncs: Callable[[], int]
    ) -> None:
        self.client = client
        self.num_syncs = num_syncs
        self.models = models
        self.address = address

    def stages(self) -> list[tuple[str, str | None]]:
        listed = self.client.get("/v1/models").json()["models"]
        return [
            (f"{one['name']}@{one['version']}", one["stage"]) for one in listed if one["kind"] == "lesion"
        ]

    def wait_for(self, *stages: tuple[str, str | None]) -> None:
        until = time.monotonic() + 20
        while self.stages() != list(stages):
            assert time.monotonic() < until, self.stages()
            time.sleep(POLL_S)

    def polls(self) -> None:
        """Wait until both tasks have completed several reads of the registry that begin from now on."""
        enough, until = self.num_syncs() + 8, time.monotonic() + 20
        while self.num_syncs() < enough:
            assert time.monotonic() < until
            time.sleep(POLL_S)

    def ask(self, query: str = "", **headers: str) -> str:
        """Send a photo; return the version of the model that was called: fake, or of the registry."""
        response = self.client.post(f"/v1/lesion{query}", content=picture(), headers=headers)
        assert response.status_code == 200, response.text
        return self.models.called[-1].rpartition("/")[2] or "fake"


@contextmanager
def api_of(address: str, models: FakeModels, **gateway: Any) -> Iterator[Api]:
    settings = {"registry": address, "registry_poll_s": POLL_S} | gateway
    num_syncs, sync = 0, TaskFollower.sync

    async def counted(follower: TaskFollower) -> None:
        nonlocal num_syncs
        await sync(follower)
        num_syncs += 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TaskFollower, "sync", counted)
        with TestClient(fake_app(models, gateway=settings)) as client:
            yield Api(client, models, address, lambda: num_syncs)


@pytest.fixture
def api(registry: Registry, models: FakeModels) -> Iterator[Api]:
    with api_of(registry.address, models) as api:
        yield api


FAKE = ("lesion-fake@1", None)


def test_without_a_production_the_models_of_the_settings_serve(api: Api):
    assert api.stages()[0] == FAKE
    assert api.ask() == "fake"


def test_promotions_and_rollbacks_are_followed(api: Api, registry: Registry):
    rest = api.stages()

    registry.change("lesion", promoted("net@1"))
    api.wait_for(("net@1", "production"), *rest)
    assert api.ask() == "1" and api.ask("?model=lesion-fake") == "fake"
    registry.change("lesion", promoted("net@2"))
    api.wait_for(("net@2", "production"), *rest)
    assert api.ask() == "2"
    registry.change("lesion", lambda index: index.without_production())
    api.wait_for(("net@1", "production"), *rest)
    registry.change("lesion", lambda index: index.without_production())
    api.wait_for(*rest)
    assert api.ask() == "fake"


def test_a_gateway_that_starts_serves_the_production_at_once(registry: Registry, models: FakeModels):
    registry.change("lesion", promoted("net@2"))

    with api_of(registry.address, models, registry_poll_s=60) as api:
        assert api.ask() == "2"


@pytest.mark.parametrize(
    "error",
    [DeploymentUnavailableError("lesion"), RuntimeError("anything")],  # pyright: ignore[reportArgumentType]
    ids=["no replica", "unexpected"],
)
def test_a_gateway_starts_when_the_replicas_cannot_be_called(
    registry: Registry, models: FakeModels, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    registry.change("lesion", promoted("net@2"))

    async def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(FakeReplicas, "broadcast", fail)
    with api_of(registry.address, models) as api:
        assert api.ask() == "fake"
        monkeypatch.undo()
        api.wait_for(("net@2", "production"), FAKE)


def test_a_registry_in_a_bucket_is_followed_and_its_loss_leaves_the_running_model(
    registry: Registry, models: FakeModels, caplog: pytest.LogCaptureFixture
):
    with s3_server():
        client = s3_client()
        client.create_bucket(Bucket="models")
        remote = Registry("s3://models/registry")
        for version in "12":
            remote.push(registry.version_address("lesion", VersionName("net", version)))
        with api_of(remote.address, models) as api:
            remote.change("lesion", promoted("net@1"))
            api.wait_for(("net@1", "production"), FAKE)
            remote.change("lesion", promoted("net@2"))
            api.wait_for(("net@2", "production"), FAKE)
            assert api.ask() == "2"

            client.delete_object(Bucket="models", Key="registry/lesion/index.json")
            api.polls()

            assert api.stages() == [("net@2", "production"), FAKE] and api.ask() == "2"
            assert any("index.json is missing" in record.getMessage() for record in caplog.records)


def test_a_version_is_loaded_on_the_replicas_before_it_answers(api: Api, registry: Registry):
    registry.change("lesion", promoted("net@1"))
    api.polls()

    assert f"{registry.address}/lesion/net/1" in api.models.preloaded


def test_a_version_with_a_gate_and_one_without_follow_each_other(api: Api, registry: Registry):
    rest = api.stages()
    registry.change("lesion", promoted("net@1"))
    registry.change("lesion", promoted("net@3"))
    api.wait_for(("net@3", "production"), *rest)
    gates = [one["gate"] for one in api.client.get("/v1/models").json()["models"]]
    assert gates[0] is not None

    registry.change("lesion", lambda index: index.without_production())
    api.wait_for(("net@1", "production"), *rest)

    assert api.client.get("/v1/models").json()["models"][0]["gate"] is None
    assert api.ask() == "1"


def test_a_canary_answers_its_share_and_can_be_chosen(api: Api, registry: Registry):
    rest = api.stages()
    registry.change("lesion", lambda index: index.with_production(ONE).with_canary(TWO, share=0.5))
    api.wait_for(("net@1", "production"), ("net@2", "canary"), *rest)

    assert {api.ask(**{"x-request-id": str(number)}) for number in range(40)} == {"1", "2"}
    assert len({api.ask(**{"x-request-id": "same"}) for _ in range(5)}) == 1
    assert api.ask("?model=net@2") == "2" and api.ask("?model=net@1") == "1"
    assert {api.ask("?model=net", **{"x-request-id": str(number)}) for number in range(10)} == {"1"}


def test_a_name_alone_never_means_a_canary(api: Api, registry: Registry):
    rest = api.stages()
    registry.change("lesion", lambda index: index.with_canary(TWO, share=0.5))
    api.wait_for(FAKE, ("net@2", "canary"), *rest[1:])

    assert api.client.post("/v1/lesion?model=net", content=picture()).status_code == 404


def test_answers_of_a_model_that_the_client_names_do_not_roll_a_canary_back(
    registry: Registry, models: FakeModels, caplog: pytest.LogCaptureFixture
):
    registry.change("lesion", lambda index: index.with_canary(TWO, share=0.001))
    models.failures_of["net/2"] = RuntimeError("broken")

    with api_of(registry.address, models, canary={"min_answers": 10}) as api:
        api.client = TestClient(api.client.app, raise_server_exceptions=False)
        statuses = [
            api.client.post("/v1/lesion?model=net@2", content=picture()).status_code for _ in range(12)
        ]
        time.sleep(3 * REPORT_INTERVAL_S)

        assert statuses == [500] * 12
        assert ("net@2", "canary") in api.stages()
    assert "is rolled back" not in caplog.text


def test_a_shadow_computes_and_does_not_answer(api: Api, registry: Registry):
    rest = api.stages()
    registry.change("lesion", lambda index: index.with_production(ONE).with_canary(TWO, shadow=True))
    api.wait_for(("net@1", "production"), ("net@2", "canary"), *rest)
    api.models.called.clear()

    assert api.client.post("/v1/lesion", content=picture()).status_code == 200
    api.polls()

    assert [one[-1:] for one in api.models.called if one] == ["1", "2"]


def test_a_failing_shadow_fails_no_request(api: Api, registry: Registry, monkeypatch: pytest.MonkeyPatch):
    rest = api.stages()
    registry.change("lesion", lambda index: index.with_canary(TWO, shadow=True))
    api.wait_for(FAKE, ("net@2", "canary"), *rest[1:])
    api.models.failures_of["net/2"] = RuntimeError("broken")

    assert [api.client.post("/v1/lesion", content=picture()).status_code for _ in range(5)] == [200] * 5


def test_a_bad_canary_is_rolled_back_with_a_reason(
    registry: Registry, models: FakeModels, caplog: pytest.LogCaptureFixture
):
    registry.change("lesion", lambda index: index.with_canary(TWO, share=0.5))
    models.failures_of["net/2"] = RuntimeError("broken")

    with api_of(registry.address, models, canary={"min_answers": 20}) as api:
        api.client = TestClient(api.client.app, raise_server_exceptions=False)
        for _ in range(100):
            api.client.post("/v1/lesion", content=picture())
        until = time.monotonic() + 45 * REPORT_INTERVAL_S
        while "canary lesion net@2 is rolled back" not in caplog.text and time.monotonic() < until:
            time.sleep(0.05)
        assert api.ask() == "fake"

    assert "rolled back automatically; errors: " in registry.read("lesion").get(TWO).reason
    assert "canary lesion net@2 is rolled back; errors: " in caplog.text


def test_a_rollback_is_logged_if_the_index_is_read_before_the_reply_of_the_monitor(
    registry: Registry,
    models: FakeModels,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
):
    exchange = CanaryMonitor.exchange

    async def slow(monitor: CanaryMonitor, reports: Sequence[TrialReport]) -> list[Rollback]:
        rollbacks = await exchange(monitor, reports)
        await asyncio.sleep(10 * POLL_S)
        return rollbacks

    monkeypatch.setattr(CanaryMonitor, "exchange", slow)
    test_a_bad_canary_is_rolled_back_with_a_reason(registry, models, caplog)

    assert caplog.text.count("canary lesion net@2 is rolled back") == 1


def damaged_index(registry: Registry) -> None:
    Path(registry.address, "lesion/index.json").write_text("{")


def lost_index(registry: Registry) -> None:
    Path(registry.address, "lesion/index.json").unlink()


def lost_task(registry: Registry) -> None:
    shutil.rmtree(Path(registry.address, "lesion"))


def lost_registry(registry: Registry) -> None:
    shutil.rmtree(registry.address)


@pytest.mark.parametrize(
    ("lose", "message"),
    [
        (damaged_index, "index.json is damaged"),
        (lost_index, "index.json is missing, but there are 3 versions"),
        (lost_task, "the lesion models of the registry .* are gone; put their folders back"),
        (lost_registry, "there is no registry"),
    ],
)
def test_a_lost_or_damaged_index_leaves_the_running_model_and_is_logged_once(
    api: Api,
    registry: Registry,
    lose: Callable[[Registry], None],
    message: str,
    caplog: pytest.LogCaptureFixture,
):
    rest = api.stages()
    registry.change("lesion", promoted("net@1"))
    api.wait_for(("net@1", "production"), *rest)

    lose(registry)
    api.polls()

    assert api.ask() == "1"
    lines = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    lines = [line for line in lines if re.match("lesion: .*; the running models go on$", line)]
    assert len(lines) == 1
    assert re.search(message, lines[0])


def without_weights(registry: Registry) -> None:
    Path(registry.address, "lesion/net/2/weights.safetensors").unlink()


def of_another_task(registry: Registry) -> None:
    path = Path(registry.address, "lesion/net/2", META)
    path.write_text(random_meta("progress", name="net", version="2").model_dump_json())


def with_other_weights(registry: Registry) -> None:
    Path(registry.address, "lesion/net/2/MODEL_CARD.md").write_text("changed")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without_weights, "has no weights.safetensors"),
        (of_another_task, "weights.safetensors has sha256|holds the progress checkpoint"),
        (with_other_weights, "MODEL_CARD.md is missing or differs from the index"),
    ],
)
@pytest.mark.parametrize("stage", ["production", "canary"])
def test_a_version_that_cannot_be_used_leaves_the_running_model(
    api: Api,
    registry: Registry,
    damage: Callable[[Registry], None],
    message: str,
    stage: str,
    caplog: pytest.LogCaptureFixture,
):
    rest = api.stages()
    registry.change("lesion", promoted("net@1"))
    api.wait_for(("net@1", "production"), *rest)
    damage(registry)

    registry.change(
        "lesion",
        promoted("net@2") if stage == "production" else lambda index: index.with_canary(TWO, share=1.0),
    )
    api.polls()

    assert api.ask() == "1"
    assert re.search(f"net@2 cannot be served: .*({message})", caplog.text)


def test_a_version_that_the_replicas_cannot_load_leaves_the_running_model(
    api: Api, registry: Registry, caplog: pytest.LogCaptureFixture
):
    api.models.load_failure = "out of memory"

    registry.change("lesion", promoted("net@1"))
    api.polls()

    assert api.ask() == "fake"
    assert "lesion: net@1 cannot be served: out of memory; the running models go on" in caplog.text


def test_a_failed_version_is_tried_again(api: Api, registry: Registry):
    rest = api.stages()
    api.models.load_failure = "out of memory"
    registry.change("lesion", promoted("net@1"))
    api.polls()

    api.models.load_failure = None

    api.wait_for(("net@1", "production"), *rest)


def test_a_damaged_index_at_the_start_leaves_the_models_of_the_settings(
    registry: Registry, models: FakeModels
):
    registry.change("lesion", promoted("net@1"))
    damaged_index(registry)

    with api_of(registry.address, models) as api:
        assert api.ask() == "fake"


def test_a_retired_model_of_the_settings_is_not_offered(
    registry: Registry, models: FakeModels, tmp_path: Path
):
    registry.change("lesion", promoted("net@1"))
    folder = tmp_path / "fake"
    meta = random_meta("lesion", name="lesion-fake", version="1", architecture=SMALL_ARCHITECTURE)
    save_checkpoint(folder, SmallLesionNet(num_diagnoses=2, input_px=64), meta, "# Card\n")
    registry.push(str(folder))
    registry.change("lesion", lambda index: index.with_retired(VersionName("lesion-fake", "1")))

    with api_of(registry.address, models) as api:
        assert "lesion-fake@1" not in [name for name, _ in api.stages()]
        assert api.client.post("/v1/lesion?model=lesion-fake@1", content=picture()).status_code == 404
