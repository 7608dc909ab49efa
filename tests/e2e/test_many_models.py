"""Twenty lesion models on two replicas that keep four each: answers, memory, eviction, bad checkpoints."""

import asyncio
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from samples.lesion import draw_lesion
from serve.schemas import Models
from tests.conftest import Server, StartServer
from tests.e2e.own_server import own_server, write_small_lesion
from tests.serve.fakes import error_of, jpeg_of

pytestmark = [pytest.mark.slow, pytest.mark.server]

NAMES = [f"lesion-{number:02}" for number in range(20)]
MAX_GROWTH_BYTES = 200_000_000
"""Of both replicas over 40 loads, of which each takes 30 MB."""


@dataclass
class ManyModels:
    http: httpx.Client
    server: Server
    folders: dict[str, Path]
    deployment: str
    """That holds the lesion networks."""

    def memory_bytes(self) -> int:
        return sum(one.memory_full_info().uss for one in self.server.replicas(self.deployment))


@pytest.fixture(scope="module", params=["LesionClassifier", "Gateway"])
def many(
    request: pytest.FixtureRequest,
    start_server: StartServer,
    server_config: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ManyModels]:
    folder = tmp_path_factory.mktemp("many")
    folders = {name: write_small_lesion(folder / name, name) for name in (*NAMES, "damaged", "moved")}

    def change(api: dict[str, Any], page: dict[str, Any]) -> None:
        api["lesion"] |= {"checkpoints": list(map(str, folders.values())), "max_models_per_replica": 4}

    own = own_server(
        *(start_server, server_config, folder, change),
        replicas={request.param: 2},
        in_gateway=request.param == "Gateway",
    )
    with own as server, httpx.Client(base_url=server.url, timeout=90, trust_env=False) as client:
        yield ManyModels(http=client, server=server, folders=folders, deployment=request.param)


def test_the_list_names_all_models_and_loads_none(many: ManyModels):
    models = Models.model_validate_json(many.http.get("/v1/models").content).models

    lesions = [model for model in models if model.kind == "lesion"]
    assert [model.name for model in lesions] == list(many.folders)
    assert [model.default for model in lesions] == [True] + [False] * 21
    assert [model.engine is not None for model in lesions] == [True] + [False] * 21


async def test_every_model_answers_with_its_name_and_evicted_ones_are_freed(many: ManyModels):
    photo = jpeg_of(draw_lesion(seed=3))
    places = asyncio.Semaphore(4)

    async def send(http: httpx.AsyncClient, name: str) -> tuple[str, str | int]:
        async with places:
            answer = await http.post("/v1/lesion", params={"model": name}, content=photo)
        return name, answer.json()["model"]["name"] if answer.status_code == 200 else answer.status_code

    async def send_all(http: httpx.AsyncClient) -> list[tuple[str, str | int]]:
        return await asyncio.gather(*(send(http, name) for name in NAMES))

    async with httpx.AsyncClient(base_url=many.server.url, timeout=90, trust_env=False) as http:
        first = await send_all(http)
        before = many.memory_bytes()
        others = [await send_all(http) for _ in range(2)]
        after = many.memory_bytes()

    outcomes = Counter(found == name for turn in (first, *others) for name, found in turn)
    print(f"memory of the replicas: {before / 1e6:.0f} MB, then {after / 1e6:.0f} MB")
    assert outcomes == {True: 60}
    assert len(many.server.replicas(many.deployment)) == 2
    assert after - before < MAX_GROWTH_BYTES


def test_a_model_that_cannot_be_loaded_is_an_error_and_the_others_go_on(many: ManyModels):
    photo = jpeg_of(draw_lesion(seed=3))
    broken, moved = many.folders["damaged"], many.folders["moved"]
    weights = broken / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    shutil.move(moved, moved.with_name("elsewhere"))

    found = [
        error_of(many.http.post("/v1/lesion", params={"model": one}, content=photo))
        for one in ("damaged", "moved")
    ]
    default = many.http.post("/v1/lesion", content=photo)
    ready = many.http.get("/readyz")

    assert [code for _, code, _ in found] == ["model_unavailable"] * 2
    assert all(str(broken.parent) not in message for _, _, message in found)
    assert default.json()["model"]["name"] == NAMES[0]
    assert ready.status_code == 200


def test_unknown_models_and_those_of_another_task_are_not_found(many: ManyModels):
    photo = jpeg_of(draw_lesion(seed=3))

    unknown = error_of(many.http.post("/v1/lesion?model=lesion-99", content=photo))
    version = error_of(many.http.post("/v1/lesion?model=lesion-01@2", content=photo))
    other = error_of(many.http.post("/v1/lesion?model=progress-random", content=photo))

    assert unknown[:2] == version[:2] == other[:2] == (404, "not_found")
    assert "lesion-00@1, lesion-01@1" in unknown[2] and "lesion-01@2" in version[2]
    assert "belongs to /v1/progress" in other[2]


@pytest.mark.parametrize("header", ["serve_multiplexed_model_id", "Serve-Multiplexed_Model-Id"])
def test_a_client_cannot_choose_a_model_id_of_ray_serve(many: ManyModels, header: str):
    answer = many.http.post(
        "/v1/lesion", headers={header: str(many.folders[NAMES[5]])}, content=jpeg_of(draw_lesion(seed=3))
    )

    assert answer.json()["model"]["name"] == NAMES[0]
