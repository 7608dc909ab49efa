import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from serve.jobs import deliveries, job_work
from serve.jobs.metrics import JobMetrics
from serve.jobs.scorer import PartFailure
from serve.jobs.webhook_addresses import WebhookError
from tests.serve.fakes import picture
from tests.serve.jobs.archives import zip_of
from tests.serve.jobs.local_jobs import local_server


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count what is exported, by kind and label; ``queued`` and ``running`` are the last numbers."""
    counted: Counter[str] = Counter()

    def photos(_: Any, *, num_rows: int, num_errors: int) -> None:
        counted.update(rows=num_rows, errors=num_errors)

    monkeypatch.setattr(JobMetrics, "count_ended", lambda _, state: counted.update([f"ended {state}"]))
    monkeypatch.setattr(JobMetrics, "count_webhook", lambda _, result: counted.update([f"webhook {result}"]))
    monkeypatch.setattr(JobMetrics, "count_photos", photos)
    monkeypatch.setattr(JobMetrics, "set_unfinished", lambda _, **numbers: dict.update(counted, numbers))
    return counted


async def test_ends_and_photos_of_jobs_are_counted(
    tmp_path: Path, counted: Counter[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(job_work, "FIRST_RETRY_S", 0.01)
    photos = zip_of({"0.jpg": picture(), "1.jpg": picture(), "broken.jpg": b"no photo"})
    async with local_server(tmp_path, fail_after_s=0.05) as server:
        await server.wait((await server.post(photos))["id"])
        server.gateways.failures = [PartFailure(reason="no photos")] * 1000
        await server.wait((await server.post(photos))["id"], "failed")
        server.gateways.failures = []
        server.gateways.gate.clear()
        running = (await server.post(photos))["id"]
        assert (counted["queued"], counted["running"]) == (0, 1)
        await server.http.delete(f"/v1/jobs/{running}")

    assert (counted["ended done"], counted["ended failed"], counted["ended deleted"]) == (1, 1, 1)
    assert (counted["rows"], counted["errors"]) == (3, 1)
    assert (counted["queued"], counted["running"]) == (0, 0)


async def test_attempts_to_send_a_webhook_are_counted(
    tmp_path: Path, counted: Counter[str], monkeypatch: pytest.MonkeyPatch
):
    results = [WebhookError("no"), WebhookError("no"), None, *[WebhookError("no")] * 6]

    class Sender:
        async def send(self, url: str, id: str, body: bytes) -> None:
            if problem := results.pop(0):
                raise problem

    monkeypatch.setattr(deliveries, "new_sender", lambda config: Sender())
    monkeypatch.setattr(deliveries, "RETRY_PAUSES_S", (0.01,) * 5)
    secret = tmp_path / "secret"
    secret.write_text("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
    hook = {"webhook": "https://hook.example/a"}
    async with local_server(tmp_path / "jobs", webhook_secret_file=str(secret)) as server:
        for state in ("delivered", "failed"):
            id = (await server.post(zip_of({"0.jpg": picture()}), params=hook))["id"]
            async with asyncio.timeout(10):
                while (await server.http.get(f"/v1/jobs/{id}")).json()["webhook"]["state"] != state:
                    await asyncio.sleep(0.01)

    found = [counted[f"webhook {result}"] for result in ("delivered", "retried", "failed")]
    assert found == [1, 2 + 5, 1]


def test_metrics_can_be_counted_outside_a_replica():
    metrics = JobMetrics("api")

    metrics.set_unfinished(queued=1, running=0)
    metrics.count_ended("done")
    metrics.count_photos(num_rows=3, num_errors=0)
    metrics.count_webhook("delivered")
