"""Several Ray nodes on one machine, one of which dies under load: ``python -m bench.scenarios.node_failure``.

Three raylets, each with a gateway, a lesion network and a face stage of its own, and HAProxy on the first.
Clients ask it for spots; in the second of three phases every process of the third node is killed.
"""

import asyncio
import io
import json
import os
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import tyro
import uvloop

from bench import results
from bench.load import Outcome, Shot, closed_loop
from bench.scenarios.mixed_workload import _free_port
from samples.lesion import draw_lesion
from serve.__main__ import LOCAL_YAML
from serve.runtime.ray_env import local_environment
from serve.runtime.server_process import read_config

NUM_NODES = 3
SPREAD = ("Gateway", "LesionClassifier", "FaceDetector")
TIMEOUT_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Kill one of three Ray nodes under load."""

    clients: int = 6
    seconds: float = 15.0
    """Of each phase: before, while a node dies, after."""
    out: Path = results.FOLDER


def main() -> None:
    """Start the nodes, measure, stop them, and write ``node_failure.json``."""
    settings = tyro.cli(Settings)
    load_before = results.load_now()
    with tempfile.TemporaryDirectory(prefix="nodes-", dir="/tmp") as home:
        (Path(home) / "tmp" / "ray").mkdir(parents=True)
        os.environ |= local_environment(Path(home), "127.0.0.1")
        found = measure(settings, Path(home))
    print(json.dumps(found, indent=2))
    results.save("node_failure", settings, found, load_before=load_before, folder=settings.out)


def measure(settings: Settings, home: Path) -> dict[str, Any]:
    """Return what clients saw in each phase, and where the replicas were."""
    import ray
    import ray.serve
    from ray.cluster_utils import Cluster
    from ray.serve.schema import ServeDeploySchema

    from serve.runtime.serve_client import deploy_config

    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    head: Any = {"num_cpus": 2, "temp_dir": str(home / "ray"), "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        others = [cluster.add_node(num_cpus=2) for _ in range(NUM_NODES - 1)]
        ray.init(address=cluster.address, namespace="serve", log_to_driver=False)
        schema = ServeDeploySchema.model_validate(_config(port, home))
        ray.serve.start(
            proxy_location="HeadOnly",
            http_options=schema.http_options.model_dump(),
            logging_config=schema.logging_config,
        )
        deploy_config(schema)
        _wait_until_ready(url)
        found: dict[str, Any] = {"clients": settings.clients, "replicas_per_node": _replicas_per_node()}
        shots = [_shot(seed) for seed in range(4)]
        for phase, victim in (("before", None), ("while a node dies", others[-1]), ("after", None)):
            found[phase] = _told(uvloop.run(_load(url, shots, settings, cluster, victim)))
        found["replicas_per_node_at_the_end"] = _replicas_per_node()
        return found
    finally:
        ray.shutdown()
        cluster.shutdown()


async def _load(url: str, shots: list[Shot], settings: Settings, cluster: Any, victim: Any) -> Outcome:
    async def kill() -> None:
        await asyncio.sleep(settings.seconds / 3)
        if victim is not None:
            await asyncio.to_thread(cluster.remove_node, victim, allow_graceful=False)

    load = closed_loop(url, shots, clients=settings.clients, seconds=settings.seconds, timeout_s=TIMEOUT_S)
    outcome, _ = await asyncio.gather(load, kill())
    return outcome


def _told(outcome: Outcome) -> dict[str, Any]:
    return {
        "answers": {str(status): len(times) for status, times in sorted(outcome.latencies_s.items())},
        "failed": {
            **{str(status): len(times) for status, times in outcome.latencies_s.items() if status != 200},
            **outcome.errors,
        },
        "p50_s": round(outcome.p(200, 0.5), 3),
        "p99_s": round(outcome.p(200, 0.99), 3),
    }


def _config(port: int, home: Path) -> dict[str, Any]:
    """The product of one machine without its page, spread over the nodes."""
    config = read_config(LOCAL_YAML, host="127.0.0.1", port=port, uploads=home / "uploads")
    config["applications"] = [one for one in config["applications"] if one["name"] == "api"]
    for deployment in config["applications"][0]["deployments"]:
        if deployment["name"] in SPREAD:
            deployment |= {"num_replicas": NUM_NODES, "max_replicas_per_node": 1}
        else:
            deployment |= {"num_replicas": NUM_NODES - 1, "max_replicas_per_node": 1}
    return config


def _replicas_per_node() -> dict[str, list[int]]:
    """How many running replicas of each deployment the nodes have, the fullest first."""
    from serve.runtime.serve_client import application_details

    deployments = application_details()["api"]["deployments"]
    return {
        name: sorted(
            Counter(one["node_id"] for one in found["replicas"] if one["state"] == "RUNNING").values(),
            reverse=True,
        )
        for name, found in deployments.items()
    }


def _wait_until_ready(url: str) -> None:
    until = time.monotonic() + 300
    while time.monotonic() < until:
        try:
            if httpx.get(url + "/readyz", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise SystemExit("the server was not ready after 5 minutes")


def _shot(seed: int) -> Shot:
    buffer = io.BytesIO()
    draw_lesion(seed=seed).save(buffer, "JPEG", quality=90)
    return Shot(name="spot", path="/v1/lesion", body=buffer.getvalue(), content_type="image/jpeg")


if __name__ == "__main__":
    main()
