"""A server that follows a model registry: promotion and rollback under load, bad canaries, damaged index."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from cli.main import main
from models.checkpoint import save_checkpoint
from models.lesion.shapes import SMALL_NETWORK
from models.lesion.small_network import SmallLesionNet
from models.registry import Registry
from models.registry_index import VersionName
from samples.lesion import draw_lesion
from tests.conftest import Server, StartServer
from tests.e2e.own_server import own_server
from tests.random_checkpoints import drawn_localizer, random_gate, random_meta
from tests.serve.fakes import jpeg_of

pytestmark = [pytest.mark.server, pytest.mark.slow]

POLL_S = 1.0
MAX_FOLLOW_S = 30
MAX_ROLLBACK_S = 60
NUM_REQUESTS = 1000
NUM_CLIENTS = 8
BENIGN, MALIGNANT = {"benign": 1.0, "malignant": 1.0}, {"benign": 0.0, "malignant": 0.0}
"""Thresholds at which every photo has one verdict."""


def write_version(
    folder: Path, version: str, thresholds: Mapping[str, float], *, localizer: bytes | None = None
) -> Path:
    torch.manual_seed(0)
    net = SmallLesionNet(num_diagnoses=2, input_px=64)
    gate = random_gate(min_box_px=1.0, min_skin=0.0, min_lesion=0.0) if localizer else None
    meta = random_meta(
        "lesion",
        name="net",
        version=version,
        architecture={"network": SMALL_NETWORK, "num_diagnoses": 2, "input_px": 64},
        thresholds={**thresholds, "name_diagnosis": 0.1},
        gate=None if gate is None else gate.model_dump(),
    )
    save_checkpoint(folder, net, meta, "# Random weights\n", localizer_onnx=localizer)
    return folder


def failing_localizer() -> bytes:
    """A localizer that fails on every photo but a black one, with which a gateway tries it."""
    model = onnx.load_from_string(drawn_localizer())
    nodes = [
        helper.make_node("ReduceMax", ["pixels"], ["brightest"], keepdims=0),
        helper.make_node("Cast", ["brightest"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["no_brightness", "index"], ["zero"]),
        helper.make_node("Add", ["gate", "zero"], ["gate_BG"]),
    ]
    for node in model.graph.node:
        node.output[:] = ["gate" if name == "gate_BG" else name for name in node.output]
    model.graph.node.extend(nodes)
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), "no_brightness"))
    onnx.checker.check_model(model)
    return model.SerializeToString()


@dataclass
class Followed:
    """A server, and the registry that it follows."""

    http: httpx.Client
    server: Server
    address: str
    photo: bytes

    def run(self, *words: str) -> None:
        """Run ``skinserve models``."""
        assert main(["models", *words, "--registry", self.address]) == 0

    def stages(self) -> dict[str, str]:
        models = self.http.get("/v1/models").json()["models"]
        return {f"{one['name']}@{one['version']}": one["stage"] for one in models if one["kind"] == "lesion"}

    def wait_for(self, selector: str, stage: str | None) -> None:
        """Wait until all gateways say so: several answers in a row."""
        until, agreed = time.monotonic() + MAX_FOLLOW_S, 0
        while agreed < 10:
            agreed = agreed + 1 if self.stages().get(selector) == stage else 0
            assert time.monotonic() < until, self.stages()
            time.sleep(0.05)

    def send(self, number: int) -> list[str]:
        """Send photos; return the versions that answered, or the codes of errors."""
        return asyncio.run(send(self.server.url, self.photo, number))

    def index_reason(self, version: str) -> str:
        return Registry(self.address).read("lesion").get(VersionName("net", version)).reason


async def send(url: str, photo: bytes, number: int) -> list[str]:
    places = asyncio.Semaphore(NUM_CLIENTS)

    async def one() -> str:
        async with places:
            response = await http.post("/v1/lesion", content=photo)
        content = response.json()
        return content["model"]["version"] if response.status_code == 200 else content["error"]["code"]

    async with httpx.AsyncClient(base_url=url, timeout=90, trust_env=False) as http:
        return await asyncio.gather(*(one() for _ in range(number)))


@pytest.fixture(scope="module", params=[False, True], ids=["replicas", "in gateway"])
def followed(
    request: pytest.FixtureRequest,
    start_server: StartServer,
    server_config: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Followed]:
    folder = tmp_path_factory.mktemp("registry")
    address = str(folder / "registry")
    versions = {
        "1": write_version(folder / "1", "1", BENIGN),
        "2": write_version(folder / "2", "2", BENIGN),
        "gated": write_version(folder / "gated", "gated", BENIGN, localizer=drawn_localizer()),
        "malignant": write_version(folder / "malignant", "malignant", MALIGNANT),
        "broken": write_version(folder / "broken", "broken", BENIGN, localizer=failing_localizer()),
        "damaged": write_version(folder / "damaged", "damaged", BENIGN),
    }
    for version in versions.values():
        Registry(address).push(str(version))

    def change(api: dict[str, Any], page: dict[str, Any]) -> None:
        api["gateway"] |= {"registry": address, "registry_poll_s": POLL_S}
        api["lesion"] |= {"checkpoints": [str(write_version(folder / "0", "0", BENIGN))]}

    replicas = {"Gateway": 2, "LesionClassifier": 2}
    with (
        own_server(
            *(start_server, server_config, folder, change), replicas=replicas, in_gateway=request.param
        ) as server,
        httpx.Client(base_url=server.url, timeout=90, trust_env=False) as client,
    ):
        yield Followed(
            http=client, server=server, address=address, photo=jpeg_of(draw_lesion(seed=3, size_px=300))
        )


@pytest.fixture
def production(followed: Followed) -> Followed:
    """Version 1 in production and no canary."""
    if Registry(followed.address).read("lesion").canary is not None:
        followed.run("rollback", "lesion")
    followed.run("promote", "net@1", "--stage", "production")
    followed.wait_for("net@1", "production")
    return followed


def test_the_checkpoints_of_the_settings_answer_until_the_first_promotion(followed: Followed):
    assert followed.stages() == {"net@0": None}
    assert set(followed.send(5)) == {"0"}


async def test_no_request_fails_while_the_registry_changes(production: Followed):
    steps = [
        ("promote", "net@2", "--stage", "production"),
        ("rollback", "lesion", "--production"),
        ("promote", "net@2", "--stage", "canary", "--share", "0.5"),
        ("promote", "net@2", "--stage", "canary", "--shadow"),
        ("rollback", "lesion"),
        ("promote", "net@gated", "--stage", "production"),
        ("rollback", "lesion", "--production"),
    ]
    is_done = False
    answered: Counter[str] = Counter()

    async def load() -> None:
        while not is_done or answered.total() < NUM_REQUESTS:
            answered.update(await send(production.server.url, production.photo, 50))

    sending = asyncio.create_task(load())
    for words in steps:
        await asyncio.to_thread(production.run, *words)
        await asyncio.sleep(4 * POLL_S)
    is_done = True
    await sending

    assert answered.total() >= NUM_REQUESTS
    assert set(answered) == {"1", "2", "gated"}, answered


@pytest.mark.parametrize(("version", "cause"), [("malignant", "verdicts: "), ("broken", "errors: ")])
def test_a_bad_canary_is_rolled_back_within_a_minute(production: Followed, version: str, cause: str):
    production.run("promote", f"net@{version}", "--stage", "canary", "--share", "0.3")
    began = time.monotonic()

    answered: Counter[str] = Counter()
    while Registry(production.address).read("lesion").canary is not None:
        answered.update(production.send(40))
        assert time.monotonic() < began + MAX_ROLLBACK_S, answered
    elapsed_s = time.monotonic() - began

    production.wait_for(f"net@{version}", None)
    assert production.index_reason(version).startswith(f"rolled back automatically; {cause}")
    assert set(answered) <= {"1", version, "internal"}
    assert set(production.send(50)) == {"1"}
    print(f"{version}: rolled back after {elapsed_s:.0f} s, {answered}")


def test_a_bad_shadow_is_rolled_back_and_no_request_sees_it(production: Followed):
    production.run("promote", "net@broken", "--stage", "canary", "--shadow")
    began = time.monotonic()

    answered: Counter[str] = Counter()
    while Registry(production.address).read("lesion").canary is not None:
        answered.update(production.send(40))
        assert time.monotonic() < began + MAX_ROLLBACK_S, answered

    assert set(answered) == {"1"}


def test_a_damaged_index_leaves_the_running_model_until_it_is_restored(production: Followed):
    index = Path(production.address, "lesion/index.json")
    index.write_bytes(index.read_bytes()[:100])
    time.sleep(3 * POLL_S)
    assert set(production.send(20)) == {"1"}

    production.run("restore")
    production.run("promote", "net@2", "--stage", "production")

    production.wait_for("net@2", "production")
    assert set(production.send(20)) == {"2"}


def test_a_rollback_from_a_gate_to_a_checkpoint_without_one_is_visible(production: Followed):
    production.run("promote", "net@gated", "--stage", "production")
    production.wait_for("net@gated", "production")
    assert production.http.get("/v1/models").json()["models"][0]["gate"] is not None

    production.run("rollback", "lesion", "--production", "--reason", "rejects too many photos")
    production.wait_for("net@1", "production")

    assert production.http.get("/v1/models").json()["models"][0]["gate"] is None
    assert set(production.send(10)) == {"1"}
    assert production.index_reason("gated") == "rejects too many photos"


def test_promoting_a_damaged_version_by_hand_leaves_the_running_model(production: Followed):
    weights = Path(production.address, "lesion/net/damaged/weights.safetensors")
    weights.write_bytes(weights.read_bytes()[:1000])

    Registry(production.address).change(
        "lesion", lambda index: index.with_production(VersionName("net", "damaged"))
    )
    time.sleep(3 * POLL_S)

    assert set(production.send(20)) == {"1"}
