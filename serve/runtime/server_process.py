"""The server process of ``python -m serve``: starts Ray and both applications, until it is ended.

``serve.runtime.supervisor`` starts it as ``python -m serve.runtime.server_process CONFIG HOST PORT HOME``
with its environment set.
"""

from __future__ import annotations

import ctypes
import math
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import yaml
from pydantic import ValidationError

from models.checkpoint import CheckpointError, local_checkpoint, read_meta
from models.storage import is_remote
from serve.config import ApiConfig

if TYPE_CHECKING:
    from ray.serve.schema import ApplicationStatusOverview

# How the supervisor tells our lines from Ray's.
PROGRESS, FAILURE = "progress: ", "failure: "
EXIT_BAD_CONFIG = 2
EXIT_DEPLOY_FAILED = 3
OBJECT_STORE_BYTES = 100_000_000  # photos travel in messages; Ray asks for at least 75 MB
API, UI = "serve.app:build_app", "ui.app:build_app"
_PR_SET_PDEATHSIG = 1


def main(config_file: Path, host: str, port: int, home: Path) -> None:
    """Run until SIGTERM. Exit codes tell the supervisor whether another attempt makes sense."""
    supervisor = os.getppid()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # nothing is in work yet; the supervisor clears up
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    try:
        config = read_config(config_file, host=host, port=port, uploads=home / "uploads")
    except (OSError, CheckpointError, ValidationError, ValueError) as error:
        fail(EXIT_BAD_CONFIG, str(error))

    deploy(config, home)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        watch()
    finally:
        import ray.serve

        ray.serve.shutdown()
        ray.shutdown()
        if os.getppid() != supervisor:
            shutil.rmtree(home, ignore_errors=True)


def read_config(file: Path, *, host: str, port: int, uploads: Path) -> dict[str, Any]:
    """Read a Serve config file and fit it to this start.

    Raises:
        CheckpointError: the API's checkpoints are missing or not understood.
        ValidationError: the API's settings are wrong.
        ValueError: the file is no Serve config.
    """
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    if not isinstance(config, dict) or not isinstance(config.get("applications"), list):
        raise ValueError(f"{file} has no list of applications; take serve/local.yaml as the pattern")
    config["http_options"] = {**config.get("http_options", {}), "host": host, "port": port}
    for application in config["applications"]:
        arguments = application["args"] = application.get("args") or {}
        if application.get("import_path") == API:
            settings = ApiConfig.model_validate(arguments)
            for name, part in (("lesion", settings.lesion), ("progress", settings.progress)):
                address = _found(part.checkpoint)
                read_meta(local_checkpoint(address))
                arguments.setdefault(name, {})["checkpoint"] = address
        elif application.get("import_path") == UI:
            arguments.update(api_url=f"http://{reachable(host)}:{port}", uploads_folder=str(uploads))
    return config


def reachable(host: str) -> str:
    """Return the address at which this machine reaches a server that listens on ``host``."""
    address = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{address}]" if ":" in address else address


def num_cpus(config: dict[str, Any]) -> int:
    """Return how many CPUs Ray must believe in so that every replica finds room; it only counts shares."""
    total = 0.0
    for application in config["applications"]:
        for deployment in application.get("deployments", []):
            autoscaling = deployment.get("autoscaling_config") or {}
            replicas = autoscaling.get("max_replicas") or deployment.get("num_replicas") or 1
            total += int(replicas) * float((deployment.get("ray_actor_options") or {}).get("num_cpus", 1))
    return max(2, math.ceil(total))


def deploy(config: dict[str, Any], home: Path) -> None:
    """Start Ray and Serve, and hand over the applications; they come up by themselves afterwards."""
    import ray.serve
    from ray.serve.schema import ServeDeploySchema

    from serve.runtime.serve_client import deploy_config

    schema = ServeDeploySchema.model_validate(config)
    say("starting Ray")
    ray.init(
        address="local",  # never join somebody's running cluster by accident
        num_cpus=num_cpus(config),
        object_store_memory=OBJECT_STORE_BYTES,
        include_dashboard=False,
        log_to_driver=False,
        namespace="serve",
        _temp_dir=str(home / "ray"),
    )
    say("starting Ray Serve and its proxy")
    ray.serve.start(
        proxy_location=schema.proxy_location,
        http_options=schema.http_options.model_dump(),
        logging_config=schema.logging_config,
    )
    deploy_config(schema)
    say("loading the models and the page")


def watch() -> NoReturn:
    """Wait for ever; leave with an error when an application can not be deployed."""
    import ray.serve

    while True:
        applications = ray.serve.status().applications
        for name, application in applications.items():
            if application.status == "DEPLOY_FAILED":
                print(application, flush=True)
                fail(EXIT_DEPLOY_FAILED, f"application {name} failed: {_why(application)}")
        running = [application.status == "RUNNING" for application in applications.values()]
        time.sleep(10 if running and all(running) else 2)  # a look takes 40 ms of CPU


def say(line: str) -> None:
    """Tell the supervisor how far the start is."""
    print(PROGRESS + line, flush=True)


def fail(code: int, reason: str) -> NoReturn:
    """Tell the supervisor why the start makes no sense, and leave."""
    print(FAILURE + reason.replace("\n", " "), flush=True)
    sys.exit(code)


def _why(application: ApplicationStatusOverview) -> str:
    """Return the last line of what a failed deployment says, which names the error; else what Serve says."""
    for deployment in application.deployments.values():
        lines = [line.strip() for line in deployment.message.splitlines() if line.strip()]
        if lines and deployment.status == "DEPLOY_FAILED":
            return lines[-1]
    return application.message.strip()


def _found(address: str) -> str:
    """Resolve a checkpoint folder: from the working folder, else from the folder that holds our packages."""
    here = is_remote(address) or Path(address).exists()
    return address if here else str(Path(__file__).parents[2] / address)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
