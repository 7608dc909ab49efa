import pickle
from pathlib import Path
from typing import Any

import httpx
import pytest
import ray.serve
import torch
from PIL import Image
from ray import cloudpickle
from torch import nn

from models.checkpoint import CheckpointMeta, save_checkpoint
from serve import tasks
from serve.app import build_app
from serve.gateway import connect_networks, create_app
from serve.runtime.replica_client import ReplicaClient
from tests.photo_files import encoded
from tests.random_checkpoints import write_lesion, write_progress
from tests.serve.fakes import FakeModels, picture, services
from tests.serve.toy_task import WOUND_TASK


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "TASKS", (*tasks.TASKS, WOUND_TASK))


def write_wound(folder: Path) -> Path:
    net = nn.Linear(3, 1)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[2.0, 0.0, 0.0]]))
        net.bias.fill_(1.0)
    meta = CheckpointMeta(
        kind="wound",
        name="wound-toy",
        version="1",
        architecture={},
        labels=("area",),
        groups={},
        input_px=16,
        mean=(0, 0, 0),
        std=(1, 1, 1),
        thresholds={},
        training={},
        training_data="none",
        data_fingerprint="",
        data_licence="none",
    )
    save_checkpoint(folder, net, meta, "# Wound\n")
    return folder


@pytest.mark.usefixtures("registered")
async def test_a_third_task_is_served_after_one_registration(tmp_path: Path):
    config = tasks.read_config({"wound": {"checkpoints": [str(write_wound(tmp_path))]}})
    wound = WOUND_TASK.build(getattr(config, "wound"))  # noqa: B009 - a field that create_model adds
    handle = ray.serve.run(wound.networks["wound"].bind(), name="wound", _local_testing_mode=True)
    replicas = {**FakeModels().replicas, "wound": ReplicaClient("wound", handle, retry_after_s=2)}
    app = create_app(config.gateway, {**services(), "wound": wound.create_service}, replicas)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
        area = await client.post("/v1/wound", content=encoded(Image.new("RGB", (32, 32), (51, 0, 0)), "PNG"))
        broken = await client.post("/v1/wound", content=b"<html>")
        ready = await client.get("/readyz")
        loaded = (await client.get("/v1/models")).json()["models"]
        document = (await client.get("/openapi.json")).json()

    assert area.json() == {"area": pytest.approx(1.4, abs=1e-6)}
    assert broken.json()["error"]["code"] == "unsupported_type"
    assert ready.json() == {"status": "ok", "waiting_for": []}
    assert [model["kind"] for model in loaded] == ["lesion", "progress", "wound"]
    kinds = document["components"]["schemas"]["LoadedModel"]["properties"]["kind"]["enum"]
    assert kinds == ["lesion", "progress", "wound"]


@pytest.mark.usefixtures("registered")
def test_the_application_contains_the_deployments_of_all_tasks(tmp_path: Path):
    checkpoints = {
        "lesion": write_lesion(tmp_path / "lesion"),
        "progress": write_progress(tmp_path / "progress"),
        "wound": write_wound(tmp_path / "wound"),
    }

    app = build_app({name: {"checkpoints": [str(folder)]} for name, folder in checkpoints.items()})

    arguments: Any = app._bound_deployment.init_args
    _, services, deployments = arguments
    assert set(services) == {"lesion", "progress", "wound"}
    assert set(deployments) == {"lesion", "face", "progress", "wound"}


@pytest.mark.usefixtures("registered")
async def test_networks_in_the_gateway_answer_without_replicas(tmp_path: Path):
    checkpoints = {
        "lesion": write_lesion(tmp_path / "lesion"),
        "progress": write_progress(tmp_path / "progress"),
        "wound": write_wound(tmp_path / "wound"),
    }
    sections: dict[str, Any] = {name: {"checkpoints": [str(one)]} for name, one in checkpoints.items()}
    sections["gateway"] = {"networks_in_gateway": True}
    app = build_app(sections)
    arguments: Any = app._bound_deployment.init_args
    config, created, loaders = pickle.loads(cloudpickle.dumps(arguments))  # pyright: ignore[reportPrivateImportUsage]

    api = create_app(config, created, connect_networks(loaders, config.retry_after_s))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://server") as client:
        lesion = await client.post("/v1/lesion", content=picture())
        area = await client.post("/v1/wound", content=encoded(Image.new("RGB", (32, 32), (51, 0, 0)), "PNG"))
        ready = await client.get("/readyz")
        models = (await client.get("/v1/models")).json()["models"]

    assert lesion.status_code == 200 and lesion.json()["model"]["name"] == "lesion-random"
    assert area.json() == {"area": pytest.approx(1.4, abs=1e-6)}
    assert ready.json() == {"status": "ok", "waiting_for": []}
    assert [model["engine"] is not None for model in models] == [True, True, True]


@pytest.mark.usefixtures("registered")
def test_a_section_of_an_unregistered_task_is_rejected():
    with pytest.raises(ValueError, match="burn"):
        tasks.read_config({"wound": {"checkpoints": ["weights/wound"]}, "burn": {}})
