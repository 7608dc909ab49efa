"""The server process of ``python -m serve``: start Ray and both applications, and run until SIGTERM.

``serve.runtime.supervisor`` starts it with the environment of ``ray_env.local_environment`` as
``python -m serve.runtime.server_process CONFIG HOST PORT GRPC_PORT HOME``; 0: no gRPC.
"""

from __future__ import annotations

import ctypes
import math
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import yaml
from pydantic import ValidationError

from models.errors import SkinserveError
from models.storage import is_remote
from serve.config import GatewayConfig
from serve.jobs.webhook import read_secret
from serve.runtime.forwarded_headers import TrustedProxy
from serve.runtime.keys_file import problems_in, read_keys
from serve.runtime.page_key import secure_page

if TYPE_CHECKING:
    from ray.serve import RunTarget
    from ray.serve.schema import ApplicationStatusOverview

PROGRESS, NOTICE, FAILURE = "progress: ", "notice: ", "failure: "
"""Prefixes by which the supervisor distinguishes our log lines from Ray's."""
EXIT_BAD_CONFIG = 2
EXIT_DEPLOY_FAILED = 3
OBJECT_STORE_BYTES = 100_000_000  # photos are sent in messages; Ray requires 75 MB
API_IMPORT_PATH, UI_IMPORT_PATH = "serve.app:build_app", "ui.app:build_app"
NO_PAGE = f"there is no page: no application of the config imports {UI_IMPORT_PATH}"
"""Notice for which the supervisor does not wait for the page."""
_PR_SET_PDEATHSIG = 1


def main(config_file: Path, host: str, port: int, grpc_port: int, home: Path) -> None:
    """Run the server until SIGTERM.

    Exit codes tell the supervisor whether another attempt can succeed.
    """
    supervisor = os.getppid()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # no request yet; the supervisor cleans up
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    try:
        config = read_config(config_file, host=host, port=port, grpc_port=grpc_port)
        if notice := secure_page(*_arguments(config), home):
            print(NOTICE + notice, flush=True)
        if _arguments(config)[1] is None:
            print(NOTICE + NO_PAGE, flush=True)
        for notice in (*_limit_notices(config), *_registry_notices(config)):
            print(NOTICE + notice, flush=True)
        targets = run_targets(config)
    except ValidationError as error:
        exit_with_failure(EXIT_BAD_CONFIG, f"{config_file} has wrong settings: {problems_in(error)}")
    except (OSError, SkinserveError, ValueError) as error:
        exit_with_failure(EXIT_BAD_CONFIG, str(error))

    deploy(config, targets, home)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        watch_applications()
    finally:
        import ray.serve

        ray.serve.shutdown()
        ray.shutdown()
        if os.getppid() != supervisor:
            shutil.rmtree(home, ignore_errors=True)


def read_config(file: Path, *, host: str, port: int, grpc_port: int = 0) -> dict[str, Any]:
    """Read a Serve config file; set host, ports, folders and addresses of this server.

    Args:
        file: of Ray Serve.
        host: address to listen on.
        port: of the API and the page.
        grpc_port: of the gRPC service; 0: none.

    Raises:
        CheckpointError: a checkpoint is missing or has an unknown format.
        KeysFileError: the file of the keys cannot be used.
        ValidationError: a setting of the API is invalid.
        ValueError: the file is not a Serve config, or the audit log cannot be opened.
    """
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    if not isinstance(config, dict) or not isinstance(config.get("applications"), list):
        raise ValueError(f"{file} has no list of applications; start from a copy of serve/local.yaml")
    config["http_options"] = {**config.get("http_options", {}), "host": host, "port": port}
    config["grpc_options"] = grpc_options(grpc_port)
    for application in config["applications"]:
        arguments = application["args"] = application.get("args") or {}
        if application.get("import_path") == API_IMPORT_PATH:
            if grpc_port:
                arguments["gateway"] = {**(arguments.get("gateway") or {}), "grpc_local_only": True}
            from serve import tasks  # imports Ray
            from serve.runtime.model_catalog import read_entry

            settings = tasks.read_config(arguments)
            for task in tasks.TASKS:
                for address in getattr(settings, task.name).checkpoints:
                    read_entry(address, task.name)
            _check_files(settings.gateway, arguments.get("gateway") or {})
        elif application.get("import_path") == UI_IMPORT_PATH:
            arguments.update(api_url=f"http://{local_address(host)}:{port}")
            _check_proxy(arguments)
    return config


def grpc_options(port: int) -> dict[str, Any]:
    """Return the options of Ray Serve's gRPC server; without a port it is not started.

    Reflection would answer without a key.
    """
    if not port:
        return {}
    from serve.open_inference.grpc_api.servicer import ADD_SERVICER  # imports gRPC

    return {"port": port, "grpc_servicer_functions": [ADD_SERVICER], "enable_reflection": False}


def _check_files(settings: GatewayConfig, arguments: dict[str, Any]) -> None:
    """Open the files of the gateway, and make their paths absolute."""
    _check_proxy(arguments)
    from serve.runtime.audit_log import open_audit_log  # imports Ray

    if settings.keys_file is not None:
        keys_file = Path(settings.keys_file).absolute()
        read_keys(keys_file)
        arguments["keys_file"] = str(keys_file)
    if settings.registry is not None and not is_remote(settings.registry):
        arguments["registry"] = str(Path(settings.registry).absolute())
    if settings.quota_folder is not None and not is_remote(settings.quota_folder):
        arguments["quota_folder"] = str(Path(settings.quota_folder).absolute())
    if settings.jobs is not None:
        jobs = settings.jobs.with_absolute_paths()
        if jobs.webhook_secret_file is not None:
            read_secret(jobs.webhook_secret_file)
        if not is_remote(jobs.folder):
            _check_writable(jobs.folder)
        arguments["jobs"] = jobs.model_dump(mode="json")
    if audit_log := open_audit_log(settings):
        audit_log.close()
        arguments["audit_log"] = str(Path(settings.audit_log or "").absolute())


def _check_writable(folder: str) -> None:
    """Write a file to the folder of jobs; raise ValueError."""
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(
            f"gateway.jobs.folder {folder} cannot be written ({error.strerror}); name a folder that the user "
            "of the server may write to"
        ) from error


def _limit_notices(config: dict[str, Any]) -> list[str]:
    from serve.runtime.rate_limits import limit_notices  # imports Ray

    settings = GatewayConfig.model_validate(_arguments(config)[0].get("gateway") or {})
    keys = read_keys(Path(settings.keys_file)) if settings.keys_file else None
    limits = [key.limit for key in keys.keys] if keys else []
    if keys and keys.jwt:
        limits.append(keys.jwt.limit)
    return limit_notices(settings, limits)


def _registry_notices(config: dict[str, Any]) -> list[str]:
    registry = (_arguments(config)[0].get("gateway") or {}).get("registry")
    if not registry or is_remote(registry) or Path(registry).is_dir():
        return []
    return [f"there is no registry {registry} yet; the checkpoints of the settings answer until there is one"]


def _check_proxy(arguments: dict[str, Any]) -> None:
    """Read the secrets of the trusted proxy, and make the path of their file absolute."""
    if arguments.get("trusted_proxy"):
        proxy = TrustedProxy.model_validate(arguments["trusted_proxy"])
        proxy.read_secrets()
        absolute = {"secret_file": str(Path(proxy.secret_file).absolute())}
        arguments["trusted_proxy"] = proxy.model_dump() | absolute


def _arguments(config: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return the ``args`` of the API and of the page, if there is one."""
    by_path = {application.get("import_path"): application["args"] for application in config["applications"]}
    return by_path.get(API_IMPORT_PATH, {}), by_path.get(UI_IMPORT_PATH)


def local_address(host: str) -> str:
    """Return the address at which this machine reaches a server on ``host``."""
    address = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{address}]" if ":" in address else address


def num_cpus(config: dict[str, Any]) -> int:
    """Return the sum of all replicas' CPU shares, at least 2; Ray must have as many."""
    total = 0.0
    for application in config["applications"]:
        for deployment in application.get("deployments", []):
            autoscaling = deployment.get("autoscaling_config") or {}
            replicas = autoscaling.get("max_replicas") or deployment.get("num_replicas") or 1
            total += int(replicas) * float((deployment.get("ray_actor_options") or {}).get("num_cpus", 1))
    return max(2, math.ceil(total))


def run_targets(config: dict[str, Any]) -> list[RunTarget]:
    """Build the applications of a Serve config, as ``serve.runtime.applications`` says."""
    from ray.serve.schema import ServeDeploySchema

    from serve.runtime import applications

    return applications.run_targets(ServeDeploySchema.model_validate(config))


def deploy(config: dict[str, Any], targets: list[RunTarget], home: Path) -> None:
    """Start Ray and Serve and deploy the applications; return before they run."""
    import ray.serve
    from ray.serve.schema import ServeDeploySchema

    schema = ServeDeploySchema.model_validate(config)
    report_progress("starting Ray")
    ray.init(
        address="local",  # never connect to a running cluster
        num_cpus=num_cpus(config),
        object_store_memory=OBJECT_STORE_BYTES,
        include_dashboard=False,
        log_to_driver=False,
        namespace="serve",
        _temp_dir=str(home / "ray"),
    )
    report_progress("starting Ray Serve and its proxy")
    ray.serve.start(
        proxy_location=schema.proxy_location,
        http_options=schema.http_options.model_dump(),
        grpc_options=schema.grpc_options.model_dump(),
        logging_config=schema.logging_config,
    )
    ray.serve.run_many(
        targets, wait_for_ingress_deployment_creation=False, wait_for_applications_running=False
    )
    report_progress("loading the models and the page")


def watch_applications() -> NoReturn:
    """Wait forever; exit with an error when an application cannot be deployed."""
    import ray.serve

    while True:
        applications = ray.serve.status().applications
        for name, application in applications.items():
            if application.status == "DEPLOY_FAILED":
                print(application, flush=True)
                reason = f"application {name} failed: {_failure_reason(application)}"
                exit_with_failure(EXIT_DEPLOY_FAILED, reason)
        running = [application.status == "RUNNING" for application in applications.values()]
        time.sleep(10 if running and all(running) else 2)  # one status call takes 40 ms of CPU


def report_progress(line: str) -> None:
    """Log a line that the supervisor shows as progress."""
    print(PROGRESS + line, flush=True)


def exit_with_failure(code: int, reason: str) -> NoReturn:
    """Log the reason for the supervisor and exit."""
    print(FAILURE + reason.replace("\n", " "), flush=True)
    sys.exit(code)


def _failure_reason(application: ApplicationStatusOverview) -> str:
    """Return the last line of a failed deployment's traceback, else Serve's message."""
    for deployment in application.deployments.values():
        lines = [line.strip() for line in deployment.message.splitlines() if line.strip()]
        if lines and deployment.status == "DEPLOY_FAILED":
            return lines[-1]
    return application.message.strip()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]))
