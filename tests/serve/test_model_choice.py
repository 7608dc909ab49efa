"""The query parameter ``model`` of all inference routes, on fake replicas."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from models.images import PhotoLimits
from serve.lesion.config import LesionConfig
from serve.lesion.gateway_model import GatewayModels
from serve.runtime.model_catalog import ModelCatalog, read_entry
from tests.random_checkpoints import random_gate, write_lesion
from tests.serve.fakes import FakeModels, error_of, fake_app, picture, uploads

LESION = {"checkpoints": ["weights/lesion", "s3://models/small"]}
PROGRESS = {"checkpoints": ["weights/progress", "s3://models/newer"]}


@pytest.fixture
def client(models: FakeModels) -> TestClient:
    return TestClient(fake_app(models, lesion=LESION, progress=PROGRESS))


def send(client: TestClient, route: str, query: str) -> Any:
    content: dict[str, Any] = {
        "/v1/lesion": {"content": picture()},
        "/v1/lesion/batch": {"files": uploads(picture())},
        "/v1/report": {"content": picture(), "headers": {"accept": "application/fhir+json"}},
        "/v1/progress": {"files": uploads(picture(), picture())},
        "/predict": {"json": {"img": [[[[90, 60, 50]] * 64] * 64] * 2}},
    }[route]
    return client.post(f"{route}{query}", **content)


@pytest.mark.parametrize(
    "route", ["/v1/lesion", "/v1/lesion/batch", "/v1/report", "/v1/progress", "/predict"]
)
def test_every_route_calls_the_chosen_model_by_its_address(
    client: TestClient, models: FakeModels, route: str
):
    other, address = (
        ("small", LESION) if "progress" not in route and route != "/predict" else ("newer", PROGRESS)
    )

    answers = [send(client, route, query) for query in ("", f"?model={other}", f"?model={other}@1")]
    unknown = error_of(send(client, route, "?model=large"))

    assert [answer.status_code for answer in answers] == [200] * 3
    assert set(models.called) == {"", address["checkpoints"][1]}
    assert unknown[:2] == (404, "not_found") and f"{other}@1" in unknown[2]


def test_a_model_of_another_task_is_not_found_and_its_route_is_named(client: TestClient):
    code, _, message = error_of(send(client, "/predict", "?model=small"))

    assert (code, message) == (
        404,
        "model small@1 belongs to /v1/lesion, not to /v1/progress; send the request there",
    )


def test_all_models_are_listed_the_default_first_and_none_is_loaded(client: TestClient, models: FakeModels):
    listed = client.get("/v1/models").json()["models"]

    found = [(model["name"], model["default"], model["engine"]) for model in listed]
    assert found == [
        ("lesion-fake", True, "fake"),
        ("small", False, None),
        ("progress-fake", True, "fake"),
        ("newer", False, None),
    ]
    assert set(models.called) == {""}


async def test_photos_share_a_call_only_with_those_of_the_same_model():
    models = FakeModels(delay_s=0.05)
    app = fake_app(models, lesion=LESION | {"coalesce_above": 1})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as http:
        queries = {"": (200, 120, 100), "?model=small": (100, 60, 50)}
        answers = await asyncio.gather(
            *(
                http.post(f"/v1/lesion{query}", content=picture(colour=colour))
                for query, colour in list(queries.items()) * 4
            )
        )

    assert [answer.status_code for answer in answers] == [200] * 8
    reds = [
        (model, int(photo.image_HWC[0, 0, 0]) > 150) for model, photos in models.calls for photo in photos
    ]
    assert sorted(reds) == [("", True)] * 4 + [("s3://models/small", False)] * 4


async def test_models_with_the_same_localizer_share_its_session(tmp_path: Path):
    folders = [write_lesion(tmp_path / name, gate=random_gate()) for name in ("one", "two")]
    bare = write_lesion(tmp_path / "bare")
    config = LesionConfig(checkpoints=(*map(str, folders), str(bare)))
    entries = [read_entry(address, "lesion") for address in config.checkpoints]
    for number, entry in enumerate(entries):
        object.__setattr__(entry, "meta", entry.meta.model_copy(update={"version": str(number)}))
    catalog = ModelCatalog("lesion", entries, route="/v1/lesion")
    replicas: Any = SimpleNamespace(call=print, is_remote=True)

    models = GatewayModels(config, catalog, replicas, PhotoLimits())
    one, two, without = [
        (await models.get(entry)).prepare.keywords["localizer"]  # pyright: ignore[reportFunctionMemberAccess]
        for entry in entries
    ]

    assert one is two and one is not None
    assert without is None
