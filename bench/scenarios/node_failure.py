"""Failure of one of three Ray nodes under load: ``python -m bench.scenarios.node_failure``.

Three raylets run on one machine, each with a gateway, a lesion network and a face detector. HAProxy runs on
the first. Clients send lesion photos. In the second of three phases all processes of the third node are
killed.
"""

import asyncio
import json
import os
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
import uvloop

from bench import results
from bench.load import LoadGenerator, LoadResult
from bench.photos import encode_jpeg, raw_request
from bench.results import Metrics
from bench.servers import free_port, wait_until_ready
from samples.lesion import draw_lesion
from serve.__main__ import COMPOSED_YAML
from serve.runtime.ray_env import SEVERAL_NODES, local_environment
from serve.runtime.server_process import read_config

NUM_NODES = 3
ON_ALL_NODES = ("Gateway", "LesionClassifier", "FaceDetector")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Kill one of three Ray nodes under load."""

    clients: int = 6
    seconds: float = 15.0
    """Per phase: before, during and after the failure."""
    out: Path = results.FOLDER


def main() -> None:
    """Start the nodes, measure, stop them, and write ``node_failure.json``."""
    settings = tyro.cli(Settings)
    load_before = results.busy_cores()
    with tempfile.TemporaryDirectory(prefix="nodes-", dir="/tmp") as home:
        (Path(home) / "tmp" / "ray").mkdir(parents=True)
        os.environ |= local_environment(Path(home), "127.0.0.1") | SEVERAL_NODES
        metrics = measure(settings, Path(home))
    print(json.dumps(metrics, indent=2))
    results.save("node_failure", settings, metrics, load_before=load_before, folder=settings.out)


def measure(settings: Settings, home: Path) -> Metrics:
    """Return responses and errors of each phase, and the placement of replicas."""
    import ray
    import ray.serve
    from ray.cluster_utils import Cluster
    from ray.serve.schema import ServeDeploySchema

    from serve.runtime.serve_client import deploy_config

    port = free_port()
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
        wait_until_ready(f"{url}/readyz")
        metrics: Metrics = {"clients": settings.clients, "replicas_per_node": _replicas_per_node()}
        photos = [encode_jpeg(draw_lesion(seed=seed)) for seed in range(4)]
        templates = [raw_request("lesion", "/v1/lesion", photo) for photo in photos]
        generator = LoadGenerator(url=url, templates=templates, timeout_s=30)
        for phase, node in (("before", None), ("during", others[-1]), ("after", None)):
            metrics[phase] = _phase_metrics(uvloop.run(_load(generator, settings, cluster, node)))
        metrics["replicas_per_node_after"] = _replicas_per_node()
        return metrics
    finally:
        ray.shutdown()
        cluster.shutdown()


async def _load(generator: LoadGenerator, settings: Settings, cluster: Any, node: Any) -> LoadResult:
    """Run one phase; kill ``node``, if any, after a third of it."""

    async def kill() -> None:
        await asyncio.sleep(settings.seconds / 3)
        if node is not None:
            await asyncio.to_thread(cluster.remove_node, node, allow_graceful=False)

    load = generator.closed_loop(clients=settings.clients, seconds=settings.seconds)
    result, _ = await asyncio.gather(load, kill())
    return result


def _phase_metrics(result: LoadResult) -> Metrics:
    counts = {str(status): len(times) for status, times in sorted(result.latencies_s.items())}
    return {
        "responses": counts,
        "failed": {status: count for status, count in counts.items() if status != "200"} | result.errors,
        "p50_s": round(result.percentile(200, 0.5), 3),
        "p99_s": round(result.percentile(200, 0.99), 3),
    }


def _config(port: int, home: Path) -> dict[str, Any]:
    """Return ``composed.yaml`` without the page, with replicas spread over the nodes."""
    config = read_config(COMPOSED_YAML, host="127.0.0.1", port=port)
    config["applications"] = [one for one in config["applications"] if one["name"] == "api"]
    for deployment in config["applications"][0]["deployments"]:
        replicas = NUM_NODES if deployment["name"] in ON_ALL_NODES else NUM_NODES - 1
        deployment |= {"num_replicas": replicas, "max_replicas_per_node": 1}
    return config


def _replicas_per_node() -> dict[str, list[int]]:
    """Return the number of running replicas per node, by deployment, highest first."""
    from serve.runtime.serve_client import application_details

    deployments = application_details()["api"]["deployments"]
    return {
        name: sorted(
            Counter(one["node_id"] for one in details["replicas"] if one["state"] == "RUNNING").values(),
            reverse=True,
        )
        for name, details in deployments.items()
    }


if __name__ == "__main__":
    main()
