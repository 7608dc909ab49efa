"""Commands that start the baselines; imported by skinserve's environment."""

from pathlib import Path

from bench.servers import BASELINES_PYTHON, Server

EAGER, SKINSERVE_ENGINE = ", eager PyTorch", ", skinserve engine"


def echo_servers() -> list[Server]:
    """Return servers that respond with the size of the body, one process for HTTP each."""
    litserve = [BASELINES_PYTHON, "-m", "bench.baselines.echo_litserve", "{port}"]
    return [
        Server(name="FastAPI", command=_uvicorn("bench.baselines.echo_fastapi:app"), ready_path="/health"),
        Server(name="LitServe", command=litserve, ready_path="/health"),
        Server(name="BentoML", command=_bentoml("bench.baselines.echo_bentoml:Echo"), ready_path="/readyz"),
    ]


def lesion_servers(checkpoint: Path, engine: str, *, workers: int) -> list[Server]:
    """Return servers that classify lesion photos.

    Args:
        checkpoint: folder of a lesion network.
        engine: ``eager`` for plain PyTorch, or one of ``models.lesion.runtimes``.
        workers: processes that hold the network and share the cores.
    """
    environment = {
        "BASELINE_CHECKPOINT": str(checkpoint),
        "BASELINE_ENGINE": engine,
        "BASELINE_WORKERS": str(workers),
        "BENTOML_DO_NOT_TRACK": "True",
    }
    commands = {
        "FastAPI": (
            _uvicorn("bench.baselines.lesion_fastapi:app", "--workers", str(workers)),
            "/health",
        ),
        "LitServe": ([BASELINES_PYTHON, "-m", "bench.baselines.lesion_litserve", "{port}"], "/health"),
        "BentoML": (_bentoml("bench.baselines.lesion_bentoml:Lesion"), "/readyz"),
    }
    suffix = EAGER if engine == "eager" else SKINSERVE_ENGINE
    return [
        Server(name=name + suffix, command=command, ready_path=ready, environment=environment)
        for name, (command, ready) in commands.items()
    ]


def _uvicorn(app: str, *options: str) -> list[str]:
    quiet = ["--port", "{port}", "--log-level", "warning", "--no-access-log"]
    return [BASELINES_PYTHON, "-m", "uvicorn", app, *quiet, *options]


def _bentoml(service: str) -> list[str]:
    address = ["--host", "127.0.0.1", "--port", "{port}"]
    return [BASELINES_PYTHON, "-m", "bentoml", "serve", *address, service]
