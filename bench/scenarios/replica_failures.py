"""Replicas killed with SIGKILL under load, and a checkpoint exchanged under load.

Command: ``python -m bench.scenarios.replica_failures``.

Two replicas of each deployment. Clients of the networks must notice nothing; of a gateway, those whose
requests were in flight on it and no others.
"""

import asyncio
import json
import os
import shutil
import subprocess
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

from bench.load import Shot, closed_loop
from bench.photos import form, selfies, spots
from bench.results import FOLDER, load_now, save
from bench.servers import OURS, ROOT, Running, running, skinserve
from serve.__main__ import LOCAL_YAML
from serve.runtime.ray_env import client_environment

DEPLOYMENTS = ("LesionClassifier", "FaceDetector", "ProgressClassifier", "Gateway")
SETTLE_S = 5.0
"""From a new replica's start until it has loaded and been told to the others."""
PATIENCE_S = 120.0
TIMEOUT_S = 60.0
TOLERANCE = 1e-3
REDEPLOY = """
import sys, yaml, ray, ray.serve
from ray.serve.schema import ServeDeploySchema
from serve.runtime.serve_client import deploy_config
ray.init(address=sys.argv[1], namespace="serve", log_to_driver=False)
deploy_config(ServeDeploySchema.model_validate(yaml.safe_load(open(sys.argv[2]))))
"""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Kill replicas and exchange a checkpoint under load."""

    kills: int = 10
    """Of each deployment."""
    updates: int = 2
    clients: int = 6
    out: Path = FOLDER


def main() -> None:
    """Start the server with two replicas of each deployment, do all of it, and keep the figures."""
    settings = tyro.cli(Settings)
    load_before = load_now()
    config = yaml.safe_load(LOCAL_YAML.read_text(encoding="utf-8"))
    for deployment in config["applications"][0]["deployments"]:
        deployment["num_replicas"] = 2
    with tempfile.TemporaryDirectory() as folder, running(skinserve(config, Path(folder))) as server:
        figures: dict[str, Any] = {
            name: uvloop.run(kill_under_load(server, name, settings)) for name in DEPLOYMENTS
        }
        figures["rolling updates"] = [
            asyncio.run(update_under_load(server, config, Path(folder), number, settings))
            for number in range(settings.updates)
        ]
    save("replica_failures", settings, figures, load_before=load_before, folder=settings.out)
    print(json.dumps(figures, indent=2))


async def kill_under_load(server: Running, deployment: str, settings: Settings) -> dict[str, Any]:
    """Kill one of two replicas, again and again, each time when both are there."""
    spot, other = (
        Shot(name="spot", path="/v1/lesion", body=photo, content_type="image/jpeg")
        for photo in spots("224 px", num=2)
    )
    series = form("series", "/v1/progress", selfies((640, 480), num=3), field="files")
    total: Counter[str] = Counter()
    seconds_to_replace: list[float] = []
    for number in range(settings.kills):
        victim = (await _both(server, deployment))[number % 2]
        load = asyncio.create_task(
            closed_loop(
                server.url, [spot, series, other], clients=settings.clients, seconds=4, timeout_s=TIMEOUT_S
            )
        )
        await asyncio.sleep(1)
        victim.kill()
        outcome = await load
        total.update({str(status): len(times) for status, times in outcome.latencies_s.items()})
        total.update(outcome.errors)
        began = time.monotonic()
        await _both(server, deployment, without=victim.pid)
        seconds_to_replace.append(round(3 + time.monotonic() - began - SETTLE_S, 1))
    failed = total.total() - total["200"]
    return {
        "answers": dict(total),
        "failed": failed,
        "failed_per_kill": failed / settings.kills,
        "seconds_to_replace": sorted(seconds_to_replace),
    }


async def update_under_load(
    server: Running, config: dict[str, Any], folder: Path, number: int, settings: Settings
) -> dict[str, Any]:
    """Exchange the lesion checkpoint for another version; every answer must be of the one or the other."""
    before = config["applications"][0]["args"]["lesion"]["checkpoint"]
    after = folder / f"lesion-{number}"
    shutil.copytree(ROOT / before, after)
    meta = json.loads((after / "meta.json").read_text(encoding="utf-8"))
    version = meta["version"] = f"{meta['version']}.{number}"
    (after / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    config["applications"][0]["args"]["lesion"]["checkpoint"] = str(after)

    found: Counter[str] = Counter()
    last_seen: dict[str, float] = {}
    photo = spots("224 px", num=1)[0]
    limits = httpx.Limits(max_connections=settings.clients)
    async with httpx.AsyncClient(base_url=server.url, timeout=TIMEOUT_S, limits=limits) as http:
        expected = (await http.post("/v1/lesion", content=photo)).json()["malignant_probability"]
        old = (await http.get("/v1/models")).json()["models"][0]["version"]
        done = asyncio.Event()

        async def ask() -> None:
            while not done.is_set():
                try:
                    answer = await http.post("/v1/lesion", content=photo)
                except httpx.TransportError as error:
                    found[type(error).__name__] += 1
                    continue
                if answer.status_code != 200:
                    found[str(answer.status_code)] += 1
                    continue
                said = answer.json()
                right = abs(said["malignant_probability"] - expected) < TOLERANCE
                found[said["model"]["version"] if right else "wrong"] += 1
                last_seen[said["model"]["version"]] = time.monotonic()

        began = time.monotonic()
        asking = [asyncio.create_task(ask()) for _ in range(settings.clients)]
        await asyncio.sleep(2)
        await asyncio.to_thread(_redeploy, server, config, folder)
        while time.monotonic() - began < PATIENCE_S and not _over(last_seen, old, version):
            await asyncio.sleep(0.5)
        done.set()
        await asyncio.gather(*asking)
    return {
        "answers": dict(found),
        "failed": found.total() - found[old] - found[version],
        "seconds": round(time.monotonic() - began, 1),
        "complete": _over(last_seen, old, version),
    }


def _over(last_seen: dict[str, float], old: str, new: str) -> bool:
    """Whether only the new version has been seen for a few seconds."""
    return new in last_seen and time.monotonic() - last_seen.get(old, 0) > 5


def _redeploy(server: Running, config: dict[str, Any], folder: Path) -> None:
    """Hand the changed config to the running server, as ``serve deploy`` does on a cluster."""
    from serve.runtime.server_process import read_config

    home = Path(_matching(server, lambda line: "serve.runtime.server_process" in line)[0].cmdline()[-1])
    port = int(server.url.rpartition(":")[2])
    file = folder / "changed.yaml"
    source = folder / "source.yaml"
    source.write_text(yaml.safe_dump(config), encoding="utf-8")
    fitted = read_config(source, host="127.0.0.1", port=port, uploads=home / "uploads")
    file.write_text(yaml.safe_dump(fitted), encoding="utf-8")
    raylet = _matching(server, lambda line: line[0].endswith("/raylet"))[0].cmdline()
    address = next(part for part in raylet if part.startswith("--gcs-address=")).partition("=")[2]
    environment = os.environ | client_environment(home)
    subprocess.run([OURS, "-c", REDEPLOY, address, str(file)], env=environment, cwd=ROOT, check=True)


async def _both(server: Running, deployment: str, *, without: int = 0) -> list[psutil.Process]:
    """Wait until both replicas of a deployment are there and the server is ready."""
    until = time.monotonic() + PATIENCE_S
    async with httpx.AsyncClient(base_url=server.url, timeout=10) as http:
        while time.monotonic() < until:
            replicas = _matching(server, lambda line: f"ServeReplica:api:{deployment}" in line[0])
            if len(replicas) == 2 and without not in [one.pid for one in replicas]:
                await asyncio.sleep(SETTLE_S)
                if (await http.get("/readyz")).status_code == 200:
                    return replicas
            await asyncio.sleep(0.2)
    raise RuntimeError(f"{deployment} has not two replicas after {PATIENCE_S:g} s")


def _matching(server: Running, wanted: Callable[[list[str]], bool]) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for process in server.process.children(recursive=True):
        try:
            line = process.cmdline()
        except psutil.NoSuchProcess:
            continue
        if line and wanted(line) and process.status() != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


if __name__ == "__main__":
    main()
