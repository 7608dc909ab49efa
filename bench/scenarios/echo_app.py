"""Applications that hold no network, for Ray Serve as our server starts it: what the way of a request costs.

``/readyz`` and ``/ui/`` are what ``serve.runtime.supervisor`` waits for.
"""

import asyncio
from typing import Any

import ray.serve
from fastapi import FastAPI, Request
from ray.serve import Application
from ray.serve.handle import DeploymentHandle

routes = FastAPI()


@ray.serve.deployment(max_ongoing_requests=1000)
@ray.serve.ingress(routes)
class Echo:
    """Says how long a body was, and lets a stage hold a request for a while."""

    def __init__(self, stage: DeploymentHandle) -> None:
        self._stage = stage

    @routes.post("/echo")
    async def echo(self, request: Request) -> dict[str, int]:
        """Return the length of the body."""
        return {"bytes": len(await request.body())}

    @routes.post("/staged")
    async def staged(self, request: Request) -> dict[str, int]:
        """Return the length of the body, as a stage says."""
        return await self._stage.hold.remote(await request.body())

    @routes.get("/readyz")
    @routes.get("/ui/")
    async def ready(self) -> None:
        """Say that it runs."""


@ray.serve.deployment(max_ongoing_requests=16)
class Stage:
    """Holds one request after the other for ``hold_s``, as a network on a device of its own would."""

    def __init__(self, hold_s: float) -> None:
        self._hold_s = hold_s
        self._device = asyncio.Lock()

    async def hold(self, body: bytes) -> dict[str, int]:
        """Return the length of a body, after the time that it takes."""
        async with self._device:
            await asyncio.sleep(self._hold_s)
        return {"bytes": len(body)}


def build_app(args: dict[str, Any]) -> Application:
    """Build the application; Serve calls this with the ``args`` of its config."""
    return Echo.bind(Stage.bind(args["hold_s"]))  # pyright: ignore[reportAttributeAccessIssue]


def config(*, gateways: int = 1, stages: int = 1, hold_s: float = 0) -> dict[str, Any]:
    """Return the Serve config for ``serve.runtime.server_process``."""

    def part(name: str, replicas: int) -> dict[str, Any]:
        options = {"num_cpus": 0.1}
        return {"name": name, "num_replicas": replicas, "ray_actor_options": options}

    return {
        "proxy_location": "EveryNode",
        "logging_config": {"log_level": "WARNING", "enable_access_log": False},
        "applications": [
            {
                "name": "echo",
                "route_prefix": "/",
                "import_path": "bench.scenarios.echo_app:build_app",
                "args": {"hold_s": hold_s},
                "deployments": [part("Echo", gateways), part("Stage", stages)],
            }
        ],
    }
