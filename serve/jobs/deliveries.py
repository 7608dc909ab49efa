"""Deliver the webhooks of finished jobs, with retries. No job waits for them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol
from weakref import WeakValueDictionary

from models.storage_errors import StorageError
from serve.jobs.cancellation import run_to_end
from serve.jobs.config import JobsConfig
from serve.jobs.metrics import JobMetrics
from serve.jobs.schemas import Delivery
from serve.jobs.store import JobStore
from serve.jobs.webhook import WebhookSender, read_secret
from serve.jobs.webhook_addresses import WebhookError
from serve.jobs.webhook_body import webhook_body

if TYPE_CHECKING:
    from serve.jobs.records import JobRecord
    from serve.jobs.runner import Job

RETRY_PAUSES_S = (5.0, 30.0, 120.0, 600.0, 3600.0)
"""Pauses after failed attempts."""
MAX_DELIVERIES_PER_CALLER = 4
"""Attempts at once. Receivers that do not answer delay no other caller's webhooks."""
ATTEMPT_S = 20.0
"""Of one attempt, name resolution included."""

logger = logging.getLogger("skinserve")


class Sender(Protocol):
    """Send one attempt of a webhook."""

    async def send(self, url: str, id: str, body: bytes) -> None:
        """Send a body; raise WebhookError."""
        ...


class Deliveries:
    """Send the webhooks of one runner and store their state.

    Args:
        open_sender: raises ValueError if webhooks cannot be signed.
    """

    def __init__(
        self,
        config: JobsConfig,
        store: JobStore,
        threads: ThreadPoolExecutor,
        metrics: JobMetrics,
        open_sender: Callable[[JobsConfig], Sender] | None = None,
    ) -> None:
        self._config = config
        self._store = store
        self._threads = threads
        self._metrics = metrics
        self._open_sender = open_sender or new_sender
        self._slots: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, job: Job) -> None:
        """Start the delivery of a finished job, if it has a webhook that waits."""
        webhook = job.record.webhook
        if webhook is None or webhook.state != "waiting" or job.record.id in self._tasks:
            return
        task = asyncio.get_running_loop().create_task(self._deliver(job))
        self._tasks[job.record.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(job.record.id, None))

    async def cancel(self, id: str) -> None:
        """Stop the delivery of a job that is deleted."""
        if task := self._tasks.get(id):
            task.cancel()
            await asyncio.wait({task})

    async def close(self) -> None:
        """Stop all deliveries; the next runner continues them."""
        await asyncio.gather(*map(self.cancel, list(self._tasks)))

    async def _deliver(self, job: Job) -> None:
        while (webhook := job.record.webhook) is not None and webhook.state == "waiting":
            problem = await self._attempt(webhook, job.record)
            attempts = webhook.attempts + 1
            is_last = attempts > len(RETRY_PAUSES_S)
            state = "delivered" if problem is None else "failed" if is_last else "waiting"
            self._metrics.count_webhook("retried" if state == "waiting" else state)
            webhook = Delivery(url=webhook.url, state=state, attempts=attempts, problem=problem)
            async with job.files:
                job.record = job.record.model_copy(update={"webhook": webhook})
                try:
                    await run_to_end(self._threads, self._store.write_record, job.record)
                except StorageError as error:
                    logger.error("job %s: the state of the webhook is not stored: %s", job.record.id, error)
            if state == "waiting":
                await asyncio.sleep(RETRY_PAUSES_S[attempts - 1])

    async def _attempt(self, webhook: Delivery, record: JobRecord) -> str | None:
        """Send one attempt; return the problem."""
        slots = self._slots.setdefault(record.caller, asyncio.Semaphore(MAX_DELIVERIES_PER_CALLER))
        try:
            async with slots:
                sender = await run_to_end(self._threads, self._open_sender, self._config)
                async with asyncio.timeout(ATTEMPT_S):
                    await sender.send(webhook.url, record.id, webhook_body(record))
        except WebhookError as error:
            return str(error)
        except TimeoutError:
            return f"the receiver did not answer within {ATTEMPT_S:g} s"
        except ValueError as error:
            logger.error("webhooks cannot be signed: %s", error)
            return "the server cannot sign webhooks; ask its operator"
        except Exception:
            logger.exception("job %s: the webhook failed", record.id)
            return "the server failed to send the webhook"
        return None


def new_sender(config: JobsConfig) -> WebhookSender:
    """Return the sender of the settings.

    Raises:
        ValueError: the secret cannot be read.
    """
    if config.webhook_secret_file is None:
        raise ValueError("gateway.jobs.webhook_secret_file is not set")
    return WebhookSender(read_secret(config.webhook_secret_file), config.webhook_networks)
