"""Replicas killed under load, and rolling updates: ``python -m bench.scenarios.replica_failures``.

Each deployment has two replicas. After SIGKILL of a network's replica no request may fail; after SIGKILL of a
gateway only requests in flight on it. A rolling update exchanges the lesion checkpoint under load.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import tyro
import uvloop
import yaml

from bench.http_client import RequestTemplate, Response
from bench.load import LoadGenerator
from bench.photos import lesion_photos, multipart_request, raw_request, selfies
from bench.results import FOLDER, Metrics, busy_cores, save
from bench.servers import ROOT, RunningServer, run_server, skinserve_server
from serve.__main__ import COMPOSED_YAML
from serve.runtime.ray_env import client_environment

DEPLOYMENTS = ("LesionClassifier", "FaceDetector", "ProgressClassifier", "Gateway")
SETTLE_S = 5.0
"""From the start of a replica until it is loaded and routed to."""
REPLACEMENT_TIMEOUT_S = 120.0
TOLERANCE = 1e-3
"""Largest difference of a probability between equal responses."""
REDEPLOY = """
import sys, yaml, ray, ray.serve
from ray.serve.schema import ServeDeploySchema
from serve.runtime.serve_client import deploy_config
ray.init(address=sys.argv[1], namespace="serve", log_to_driver=False)
deploy_config(ServeDeploySchema.model_validate(yaml.safe_load(open(sys.argv[2]))))
"""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Kill replicas and update a checkpoint under load."""

    kills: int = 10
    """Per deployment."""
    updates: int = 2
    clients: int = 6
    out: Path = FOLDER


def main() -> None:
    """Start the server with two replicas per deployment, measure, and write ``replica_failures.json``."""
    settings = tyro.cli(Settings)
    load_before = busy_cores()
    config = yaml.safe_load(COMPOSED_YAML.read_text(encoding="utf-8"))
    for deployment in config["applications"][0]["deployments"]:
        deployment["num_replicas"] = 2
    with (
        tempfile.TemporaryDirectory() as folder,
        run_server(skinserve_server(config, Path(folder))) as server,
    ):
        metrics: Metrics = {name: uvloop.run(kill_under_load(server, name, settings)) for name in DEPLOYMENTS}
        metrics["rolling_updates"] = [
            asyncio.run(update_under_load(server, config, Path(folder), number, settings))
            for number in range(settings.updates)
        ]
    save("replica_failures", settings, metrics, load_before=load_before, folder=settings.out)
    print(json.dumps(metrics, indent=2))


async def kill_under_load(server: RunningServer, deployment: str, settings: Settings) -> Metrics:
    """Kill one of two replicas repeatedly, each time after both are ready."""
    first, second = (raw_request("lesion", "/v1/lesion", one) for one in lesion_photos("224 px", num=2))
    series = multipart_request("series", "/v1/progress", selfies((640, 480), num=3), field="files")
    generator = LoadGenerator(url=server.url, templates=[first, series, second])
    total: Counter[str] = Counter()
    seconds_to_replace: list[float] = []
    for number in range(settings.kills):
        replica = (await both_replicas(server, deployment))[number % 2]
        load = asyncio.create_task(generator.closed_loop(clients=settings.clients, seconds=4))
        await asyncio.sleep(1)
        replica.kill()
        result = await load
        total.update({str(status): len(times) for status, times in result.latencies_s.items()})
        total.update(result.errors)
        began = time.monotonic()
        await both_replicas(server, deployment, without=replica.pid)
        seconds_to_replace.append(round(3 + time.monotonic() - began - SETTLE_S, 1))
    failed = total.total() - total["200"]
    return {
        "responses": dict(total),
        "failed": failed,
        "failed_per_kill": failed / settings.kills,
        "seconds_to_replace": sorted(seconds_to_replace),
    }


async def update_under_load(
    server: RunningServer, config: dict[str, Any], folder: Path, number: int, settings: Settings
) -> Metrics:
    """Update the lesion checkpoint; every response must be of the old or the new version."""
    new = _add_version(config, folder / f"lesion-{number}", number)
    photo = lesion_photos("224 px", num=1)[0]
    async with httpx.AsyncClient(base_url=server.url, timeout=60, trust_env=False) as http:
        expected = (await http.post("/v1/lesion", content=photo)).json()["malignant_probability"]
        old = (await http.get("/v1/models")).json()["models"][0]["version"]
    outcomes: Counter[str] = Counter()
    last_seen: dict[str, float] = {}

    def count(_: RequestTemplate, response: Response, __: float) -> None:
        if response.status != 200:
            outcomes[str(response.status)] += 1
            return
        content = json.loads(response.body)
        version = content["model"]["version"]
        is_right = abs(content["malignant_probability"] - expected) < TOLERANCE
        outcomes[version if is_right else "wrong"] += 1
        last_seen[version] = time.monotonic()

    def is_complete() -> bool:
        """Return whether only the new version responded for five seconds."""
        return new in last_seen and time.monotonic() - last_seen.get(old, 0) > 5

    template = raw_request("lesion", "/v1/lesion", photo)
    generator = LoadGenerator(url=server.url, templates=[template], on_response=count)
    began = time.monotonic()
    outcomes.update((await generator.closed_loop(clients=settings.clients, seconds=2)).errors)
    deploying = asyncio.create_task(asyncio.to_thread(_redeploy, server, config, folder))
    while time.monotonic() - began < REPLACEMENT_TIMEOUT_S and not (deploying.done() and is_complete()):
        outcomes.update((await generator.closed_loop(clients=settings.clients, seconds=1)).errors)
    await deploying
    return {
        "responses": dict(outcomes),
        "failed": outcomes.total() - outcomes[old] - outcomes[new],
        "seconds": round(time.monotonic() - began, 1),
        "complete": is_complete(),
    }


def _add_version(config: dict[str, Any], folder: Path, number: int) -> str:
    """Copy the lesion checkpoint under another version, set it in the config, and return the version."""
    arguments = config["applications"][0]["args"]["lesion"]
    shutil.copytree(ROOT / arguments["checkpoints"][0], folder)
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    meta["version"] = f"{meta['version']}.{number}"
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    arguments["checkpoints"] = [str(folder)]
    return meta["version"]


def _redeploy(server: RunningServer, config: dict[str, Any], folder: Path) -> None:
    """Deploy the changed config to the running server, as ``serve deploy`` does on a cluster."""
    from serve.runtime.server_process import read_config

    main_process = _matching(server, lambda line: "serve.runtime.server_process" in line)[0]
    home = Path(main_process.cmdline()[-1])
    port = int(server.url.rpartition(":")[2])
    source, resolved = folder / "source.yaml", folder / "changed.yaml"
    source.write_text(yaml.safe_dump(config), encoding="utf-8")
    content = read_config(source, host="127.0.0.1", port=port)
    resolved.write_text(yaml.safe_dump(content), encoding="utf-8")
    raylet = _matching(server, lambda line: line[0].endswith("/raylet"))[0].cmdline()
    address = next(part for part in raylet if part.startswith("--gcs-address=")).partition("=")[2]
    command = [sys.executable, "-c", REDEPLOY, address, str(resolved)]
    subprocess.run(command, env=os.environ | client_environment(home), cwd=ROOT, check=True)


async def both_replicas(server: RunningServer, deployment: str, *, without: int = 0) -> list[psutil.Process]:
    """Wait until two replicas of a deployment run, none with pid ``without``, and the server is ready."""
    until = time.monotonic() + REPLACEMENT_TIMEOUT_S
    async with httpx.AsyncClient(base_url=server.url, timeout=10, trust_env=False) as http:
        while time.monotonic() < until:
            replicas = _matching(server, lambda line: f"ServeReplica:api:{deployment}" in line[0])
            if len(replicas) == 2 and without not in [one.pid for one in replicas]:
                await asyncio.sleep(SETTLE_S)
                if (await http.get("/readyz")).status_code == 200:
                    return replicas
            await asyncio.sleep(0.2)
    raise RuntimeError(f"{deployment} does not have two replicas after {REPLACEMENT_TIMEOUT_S:g} s")


def _matching(server: RunningServer, matches: Callable[[list[str]], bool]) -> list[psutil.Process]:
    """Return the running descendants of the server whose command line matches."""
    matching: list[psutil.Process] = []
    for process in server.process.children(recursive=True):
        try:
            line = process.cmdline()
        except psutil.NoSuchProcess:
            continue
        if line and matches(line) and process.status() != psutil.STATUS_ZOMBIE:
            matching.append(process)
    return matching


if __name__ == "__main__":
    main()
