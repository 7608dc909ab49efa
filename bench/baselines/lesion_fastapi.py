"""FastAPI and uvicorn: files in a form, decoded in Starlette's threads; a task gathers batches for a thread.

``uvicorn bench.baselines.lesion_fastapi:app --workers N``.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
from fastapi import FastAPI, UploadFile
from fastapi.concurrency import run_in_threadpool

from bench.baselines.classifier import BATCH_WAIT_S, MAX_BATCH_SIZE, Classifier

Waiting = tuple[np.ndarray, "asyncio.Future[dict[str, Any]]"]


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Load the network and gather batches until the server ends."""
    app.state.classifier = Classifier()
    app.state.queue = asyncio.Queue()
    batches = asyncio.create_task(_answer_batches(app.state.classifier, app.state.queue))
    yield
    batches.cancel()


app = FastAPI(lifespan=lifespan)


@app.get("/health")
async def health() -> None:
    """Say that the network is loaded."""


@app.post("/predict")
async def predict(file: UploadFile) -> dict[str, Any]:
    """Classify one photo."""
    image_HWC = await run_in_threadpool(app.state.classifier.decode, await file.read())
    answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
    await app.state.queue.put((image_HWC, answer))
    return await answer


async def _answer_batches(classifier: Classifier, queue: "asyncio.Queue[Waiting]") -> None:
    while True:
        batch = [await queue.get()]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BATCH_WAIT_S):
                while len(batch) < MAX_BATCH_SIZE:
                    batch.append(await queue.get())
        answers = await asyncio.to_thread(classifier, np.stack([image for image, _ in batch]))
        for (_, future), answer in zip(batch, answers, strict=True):
            if not future.done():
                future.set_result(answer)
