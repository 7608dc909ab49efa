"""A cluster of ``cluster.yaml`` in small on one machine: ``python -m tests.gpu_cluster HOME``.

Every node is a raylet of its own. GPUs are declared and absent: Ray places by what a node declares. The
program is a process of its own because Ray Serve reads its environment when it is imported. It trains, then
serves, and writes what it found to ``HOME/found.json`` for ``tests/e2e/test_gpu_cluster.py``.
"""

import io
import json
import logging
import os
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import yaml

from serve.runtime.ray_env import SEVERAL_NODES, local_environment

ROOT = Path(__file__).parents[1]
TIMEOUT_S = 300.0
MACHINES = {"m7i.xlarge": {}, "c7i.2xlarge": {"num_cpus": 8}, "g6.2xlarge": {"num_cpus": 8, "num_gpus": 1}}
"""What AWS says of the machine types; ``resources`` of a node type overrides it."""
EARLY_WARNINGS = {"RAY_SERVE_SLOW_STARTUP_WARNING_S": "5", "RAY_SERVE_SLOW_STARTUP_WARNING_PERIOD_S": "2"}
"""They show soon that a replica finds no node."""
Found = dict[str, Any]


def main(home: Path) -> None:
    """Start the nodes, train, serve, stop the nodes."""
    (home / "tmp" / "ray").mkdir(parents=True, exist_ok=True)
    os.environ |= local_environment(home, "127.0.0.1") | SEVERAL_NODES | EARLY_WARNINGS
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    try:
        for node in nodes_of(yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))):
            cluster.add_node(**node, object_store_memory=100_000_000, include_dashboard=False)
        ray.init(address=cluster.address, namespace="serve", log_to_driver=False)
        found = {"training": training(home, str(cluster.address)), "serving": serving(home)}
        (home / "found.json").write_text(json.dumps(found), encoding="utf-8")
    finally:
        ray.shutdown()
        cluster.shutdown()


def nodes_of(config: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what the fewest nodes of the launcher's file declare, head first."""
    nodes = []
    for name, node_type in config["available_node_types"].items():
        declared = dict(MACHINES[node_type["node_config"]["InstanceType"]])
        resources = dict(node_type["resources"])
        if "CPU" in resources:
            declared["num_cpus"] = resources.pop("CPU")
        is_head = name == config["head_node_type"]
        nodes += [{**declared, "resources": resources}] * (1 if is_head else node_type["min_workers"])
    return nodes


def kinds() -> dict[str, str]:
    """Return the kind of each node by its id."""
    import ray

    def kind(resources: dict[str, float]) -> str:
        return "photos" if "photo_node" in resources else "networks" if "GPU" in resources else "head"

    return {node["NodeID"]: kind(node["Resources"]) for node in ray.nodes() if node["Alive"]}


def training(home: Path, address: str) -> Found:
    """Train with two workers on the declared GPUs: refused as it is, then over gloo instead of NCCL."""
    import ray
    import ray.train.torch

    import train.fit
    from train import placement
    from train.config import Scale
    from train.distributed import RunStoppedError
    from train.lesion.config import LesionTraining
    from train.lesion.drawn_lesions import draw_lesion_photos
    from train.lesion.task import LesionTask
    from train.run_folder import RunFolder

    lines = _Lines()
    logging.getLogger("train").addHandler(lines)
    logging.getLogger("train").setLevel(logging.INFO)
    draw_lesion_photos(home / "photos", home / "manifest.parquet", num_photos=54)
    config = LesionTraining(
        manifest=str(home / "manifest.parquet"),
        run=str(home / "run"),
        cache=str(home / "cache"),
        input_px=32,
        start_px=32,
        num_epochs=1,
        batch_size=8,
        val_fraction=0.25,
        bf16=False,
    )
    found: Found = {}
    for name, scale in (
        ("as_it_is", Scale(workers=2, gpu=True, address=address)),
        ("five_workers", Scale(workers=5, gpu=True, address=address)),
        ("too_many_cpus", Scale(workers=2, cpus_per_worker=9, address=address, gpu=True)),
    ):
        started = time.monotonic()
        try:
            train.fit.fit(LesionTask(), config, scale)
        except RunStoppedError as error:
            found[name] = {"error": str(error), "seconds": time.monotonic() - started, "log": lines.take()}

    placement.WARN_AFTER_S, placement.POLL_S = 1.0, 0.2
    train.fit.check_gpus = lambda nodes: None
    train.fit.train_worker = train_on_cpu
    trainer, torch_config = ray.train.torch.TorchTrainer, ray.train.torch.TorchConfig

    def over_gloo(*args: Any, **settings: Any) -> Any:
        return trainer(*args, **{**settings, "torch_config": torch_config(backend="gloo")})

    ray.train.torch.TorchTrainer = over_gloo
    holder_class: Any = ray.remote(num_gpus=1, num_cpus=0)(_Holder)
    holder = holder_class.remote()
    ray.get(holder.ready.remote())
    groups: list[Found] = []
    observer = threading.Thread(target=_observe, args=(lines, holder, groups), daemon=True)
    observer.start()
    train.fit.fit(LesionTask(), config, Scale(workers=2, gpu=True, address=address))
    observer.join(TIMEOUT_S)
    found["trained"] = {
        "log": lines.take(),
        "epochs": RunFolder(address=config.run).epochs(),
        "bundles": list(groups[0]["bundles"].values()),
        "nodes": list(groups[0]["bundles_to_node_id"].values()),
    }
    found["trained"]["kinds"] = [kinds()[node] for node in found["trained"]["nodes"]]
    return found


def train_on_cpu(settings: dict[str, Any]) -> str:
    """Train as a worker with a GPU does, on its CPUs."""
    import ray.train.torch
    import torch
    from torch.nn.parallel import DistributedDataParallel

    from train.fit import train_worker

    assert str(ray.train.torch.get_device()) == "cuda:0" and len(ray.get_gpu_ids()) == 1
    ray.train.torch.get_device = lambda: torch.device("cpu")
    ray.train.torch.prepare_model = DistributedDataParallel
    return train_worker(settings)


class _Holder:
    """Holds a GPU, as other work on the cluster does."""

    def ready(self) -> None:
        """Return once the actor is placed."""


class _Lines(logging.Handler):
    """Collects the lines that a training logs."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def take(self) -> list[str]:
        """Return the lines since the last call."""
        taken, self.lines = self.lines, []
        return taken


def _observe(lines: _Lines, holder: Any, groups: list[Found]) -> None:
    """Free the GPU once the training has warned, then note where its workers are placed."""
    import ray
    from ray.util import placement_group_table

    _wait_until("a warning", lambda: any("other jobs use" in line for line in lines.lines))
    ray.kill(holder)

    def placed() -> bool:
        groups[:] = [one for one in placement_group_table().values() if one["state"] == "CREATED"]
        return bool(groups)

    _wait_until("the workers' placement", placed, every_s=0.05)


def serving(home: Path) -> Found:
    """Deploy ``serve/gpu.yaml`` with its networks on CPUs, ask it, and ask for a replica too many."""
    import ray.serve
    from ray.serve.schema import ServeDeploySchema

    from serve.runtime.serve_client import application_details as apps
    from serve.runtime.serve_client import deploy_config

    started = time.monotonic()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    schema = ServeDeploySchema.model_validate(serve_config(port))
    ray.serve.start(
        proxy_location="HeadOnly",  # the nodes share one machine and its ports
        http_options=schema.http_options.model_dump(),
        logging_config=schema.logging_config,
    )
    deploy_config(schema)

    _wait_until("both applications", lambda: all(one["status"] == "RUNNING" for one in apps().values()), 1)
    _wait_until("an answer", lambda: _status(url + "/readyz") == 200, 0.5)
    found: Found = {"replicas": _replicas(apps()), "seconds_to_start": time.monotonic() - started}
    found["answer"] = _post_lesion(url)
    found["page"] = _status(url + "/ui/")

    config = serve_config(port)
    [lesion] = [one for one in config["applications"][0]["deployments"] if one["name"] == "LesionClassifier"]
    del lesion["max_replicas_per_node"]  # what is left to forbid it is the fraction of a GPU
    lesion["autoscaling_config"]["min_replicas"] = 3
    deploy_config(ServeDeploySchema.model_validate(config))

    def message() -> str:
        return apps()["api"]["deployments"]["LesionClassifier"]["message"]

    _wait_until("a message on the third replica", lambda: "to be scheduled" in message(), 0.5)
    return found | {"message": message(), "replicas_at_the_end": _replicas(apps())}


def serve_config(port: int) -> Found:
    """Return ``serve/gpu.yaml`` with CPU engines, for one machine."""
    text = (ROOT / "serve/gpu.yaml").read_text(encoding="utf-8").replace("device: cuda", "device: cpu")
    config = yaml.safe_load(text)
    config["http_options"] = {"host": "127.0.0.1", "port": port}
    config["applications"][1]["args"] = {"api_url": f"http://127.0.0.1:{port}"}
    return config


def _replicas(apps: Found) -> Found:
    """Return, for each deployment, the nodes of its running replicas as ``kind`` and how many are on each."""
    kind = kinds()
    return {
        name: sorted(
            (kind[node], number)
            for node, number in Counter(
                one["node_id"] for one in deployment["replicas"] if one["state"] == "RUNNING"
            ).items()
        )
        for app in apps.values()
        for name, deployment in app["deployments"].items()
    }


def _post_lesion(url: str) -> Found:
    from samples.lesion import draw_lesion

    photo = io.BytesIO()
    draw_lesion(seed=1).save(photo, "JPEG")
    answer = httpx.post(
        url + "/v1/lesion", content=photo.getvalue(), headers={"content-type": "image/jpeg"}, timeout=60
    )
    return {"status": answer.status_code, "body": answer.json()}


def _status(url: str) -> int:
    try:
        return httpx.get(url, timeout=10).status_code
    except httpx.TransportError:
        return 0


def _wait_until(what: str, condition: Callable[[], bool], every_s: float = 0.1) -> None:
    until = time.monotonic() + TIMEOUT_S
    while not condition():
        if time.monotonic() > until:
            raise SystemExit(f"waited {TIMEOUT_S:g} s for {what} in vain")
        time.sleep(every_s)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
