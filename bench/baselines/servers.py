"""How the peers are started; this file runs in our environment."""

from pathlib import Path

from bench.servers import PEERS, Server

EAGER, OURS_INSIDE = ", eager PyTorch", ", our engine"


def echoes() -> list[Server]:
    """Return the servers that answer a body with its length; with one process for HTTP each."""
    return [
        Server(
            name="FastAPI",
            command=[*_UVICORN, "bench.baselines.echo_fastapi:app", *_QUIET_UVICORN],
            ready_path="/health",
        ),
        Server(
            name="LitServe",
            command=[PEERS, "-m", "bench.baselines.echo_litserve", "{port}"],
            ready_path="/health",
        ),
        Server(
            name="BentoML", command=[*_BENTOML, "bench.baselines.echo_bentoml:Echo"], ready_path="/readyz"
        ),
    ]


def classifiers(checkpoint: Path, engine: str, *, workers: int) -> list[Server]:
    """Return the servers that classify photos of spots.

    Args:
        checkpoint: folder of a lesion network.
        engine: ``eager`` for plain PyTorch, or one of ``models.lesion.runtimes``.
        workers: processes that hold the network; they share the cores.
    """
    environment = {
        "PEER_CHECKPOINT": str(checkpoint),
        "PEER_ENGINE": engine,
        "PEER_WORKERS": str(workers),
        "BENTOML_DO_NOT_TRACK": "True",
    }
    commands = {
        "FastAPI": (
            [*_UVICORN, "bench.baselines.lesion_fastapi:app", *_QUIET_UVICORN, "--workers", str(workers)],
            "/health",
        ),
        "LitServe": ([PEERS, "-m", "bench.baselines.lesion_litserve", "{port}"], "/health"),
        "BentoML": ([*_BENTOML, "bench.baselines.lesion_bentoml:Lesion"], "/readyz"),
    }
    return [
        Server(
            name=name + (EAGER if engine == "eager" else OURS_INSIDE),
            command=command,
            ready_path=ready,
            environment=environment,
        )
        for name, (command, ready) in commands.items()
    ]


_UVICORN = [PEERS, "-m", "uvicorn"]
_QUIET_UVICORN = ["--port", "{port}", "--log-level", "warning", "--no-access-log"]
_BENTOML = [PEERS, "-m", "bentoml", "serve", "--host", "127.0.0.1", "--port", "{port}"]
