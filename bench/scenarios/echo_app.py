"""Ray Serve applications without a network, for the cost of the request path.

They respond on ``/readyz`` and ``/ui/``, which ``serve.runtime.supervisor`` polls.
"""

import asyncio
from typing import Any

import ray.serve
from fastapi import FastAPI, Request
from ray.serve import Application
from ray.serve.handle import DeploymentHandle

from serve.runtime.applications import DeploymentOptions

routes = FastAPI()


@ray.serve.deployment(max_ongoing_requests=1000)
@ray.serve.ingress(routes)
class Echo:
    """Return the size of a body, directly or through a second deployment."""

    def __init__(self, backend: DeploymentHandle) -> None:
        self._backend = backend

    @routes.post("/echo")
    async def echo(self, request: Request) -> dict[str, int]:
        """Return the size of the body."""
        return {"bytes": len(await request.body())}

    @routes.post("/backend")
    async def call_backend(self, request: Request) -> dict[str, int]:
        """Return the size of the body, computed by ``Backend``."""
        return await self._backend.hold.remote(await request.body())

    @routes.get("/readyz")
    @routes.get("/ui/")
    async def ready(self) -> None:
        """Respond when the application runs."""


@ray.serve.deployment(max_ongoing_requests=16)
class Backend:
    """Hold one request at a time for ``hold_s`` without CPU, like a network on its own device."""

    def __init__(self, hold_s: float) -> None:
        self._hold_s = hold_s
        self._device = asyncio.Lock()

    async def hold(self, body: bytes) -> dict[str, int]:
        """Return the size of a body after ``hold_s``."""
        async with self._device:
            await asyncio.sleep(self._hold_s)
        return {"bytes": len(body)}


def build_app_with_options(args: dict[str, Any], options: DeploymentOptions) -> Application:
    """Build the application from ``args`` and ``deployments`` of its Serve config."""
    echo: Any = Echo
    backend = Backend.options(**options[Backend.name]).bind(args["hold_s"])
    return echo.options(**options[echo.name]).bind(backend)


def config(*, backends: int = 1, hold_s: float = 0) -> dict[str, Any]:
    """Return the Serve config of the application."""

    def deployment(name: str, replicas: int) -> dict[str, Any]:
        return {"name": name, "num_replicas": replicas, "ray_actor_options": {"num_cpus": 0.1}}

    return {
        "proxy_location": "EveryNode",
        "logging_config": {"log_level": "WARNING", "enable_access_log": False},
        "applications": [
            {
                "name": "echo",
                "route_prefix": "/",
                "import_path": "bench.scenarios.echo_app:build_app_with_options",
                "args": {"hold_s": hold_s},
                "deployments": [deployment("Echo", 1), deployment("Backend", backends)],
            }
        ],
    }
