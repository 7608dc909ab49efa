"""Count the files of this repository that one POST /v1/lesion executes.

Run it in the root of the repository: ``python -m scripts.count_request_files``. Gateway and replica run in
one process (local testing mode of Ray Serve). A file counts if one of its functions is called for a request;
imports and the first request, which creates metrics, do not count.
"""

import asyncio
import io
import sys
import threading
from pathlib import Path
from types import FrameType

import httpx
import ray.serve

from samples.lesion import draw_lesion
from serve.config import GatewayConfig
from serve.gateway import create_app
from serve.lesion.config import LesionConfig
from serve.lesion.task import LESION_TASK
from serve.runtime.admission import publish_checks, serve_middlewares
from serve.runtime.replica_client import ReplicaClient

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("models", "serve")
SETTLE_S = 0.5
"""A compute thread records its metrics after the response."""


class FileRecorder:
    """Record the files whose functions are called, in all threads."""

    def __init__(self) -> None:
        self.files: set[str] = set()
        self._paths = tuple(f"{ROOT / package}/" for package in PACKAGES)

    def install(self) -> None:
        """Profile this thread and all threads started later."""
        threading.setprofile(self._record)
        sys.setprofile(self._record)

    def _record(self, frame: FrameType, event: str, _: object) -> None:
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(self._paths):
            self.files.add(str(Path(file).relative_to(ROOT)))


async def executed_files(config: LesionConfig) -> list[str]:
    """Return the files that a request executes after a first one."""
    recorder = FileRecorder()
    recorder.install()
    task_app = LESION_TASK.build(config)
    replicas = {
        name: ReplicaClient(
            name, ray.serve.run(network.bind(), name=name, _local_testing_mode=True), retry_after_s=2
        )
        for name, network in task_app.networks.items()
    }
    app = create_app(GatewayConfig(), {LESION_TASK.name: task_app.create_service}, replicas)
    publish_checks(app.state.checks)
    for middleware in serve_middlewares():  # as Serve adds them around its HTTP layer
        app = middleware.cls(app, *middleware.args, **middleware.kwargs)
    photo = io.BytesIO()
    draw_lesion(seed=1).save(photo, "JPEG")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
        for _ in range(2):
            recorder.files.clear()
            headers = {"content-type": "image/jpeg"}
            response = await client.post("/v1/lesion", content=photo.getvalue(), headers=headers)
            response.raise_for_status()
            await asyncio.sleep(SETTLE_S)
    sys.setprofile(None)
    return sorted(recorder.files)


def main() -> None:
    """Print the files and their number."""
    files = asyncio.run(executed_files(LesionConfig()))
    print("\n".join([*files, f"{len(files)} files"]))


if __name__ == "__main__":
    main()
