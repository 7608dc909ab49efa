"""FastAPI and uvicorn: ``uvicorn bench.baselines.lesion_fastapi:app --workers N``.

Starlette's threads prepare; a task collects batches for a compute thread.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, UploadFile
from fastapi.concurrency import run_in_threadpool

from bench.baselines.classifier import BATCH_WAIT_S, MAX_BATCH_SIZE, Classifier

QueuedPhoto = tuple[Any, "asyncio.Future[dict[str, Any]]"]


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Load the network and compute batches until the server ends."""
    app.state.classifier = Classifier()
    app.state.queue = asyncio.Queue()
    batches = asyncio.create_task(_compute_batches(app.state.classifier, app.state.queue))
    yield
    batches.cancel()


app = FastAPI(lifespan=lifespan)


@app.get("/health")
async def health() -> None:
    """Respond when the network is loaded."""


@app.post("/predict")
async def predict(file: UploadFile) -> dict[str, Any]:
    """Classify one photo."""
    prepared = await run_in_threadpool(app.state.classifier.prepare, await file.read())
    result: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
    await app.state.queue.put((prepared, result))
    return await result


async def _compute_batches(classifier: Classifier, queue: "asyncio.Queue[QueuedPhoto]") -> None:
    while True:
        batch = [await queue.get()]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BATCH_WAIT_S):
                while len(batch) < MAX_BATCH_SIZE:
                    batch.append(await queue.get())
        results = await asyncio.to_thread(classifier, [prepared for prepared, _ in batch])
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)
