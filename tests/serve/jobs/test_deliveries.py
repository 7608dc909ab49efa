import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from serve.jobs import deliveries
from serve.jobs.config import JobsConfig
from serve.jobs.deliveries import Deliveries
from serve.jobs.metrics import JobMetrics
from serve.jobs.runner import Job
from serve.jobs.store import JobStore
from serve.jobs.webhook_addresses import WebhookError
from tests.serve.jobs.local_jobs import archive, local_server, record, until


class FakeSender:
    """Fail as often as ``problems`` has entries."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        self.sent: list[tuple[str, str, bytes]] = []

    async def send(self, url: str, id: str, body: bytes) -> None:
        self.sent.append((url, id, body))
        if self.problems:
            raise WebhookError(self.problems.pop(0))


@pytest.fixture
def secret(tmp_path: Path) -> str:
    file = tmp_path / "secret"
    file.write_text("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
    return str(file)


HOOK = {"webhook": "https://hook.example/a"}


async def test_a_webhook_is_repeated_with_the_same_body(
    tmp_path: Path, secret: str, monkeypatch: pytest.MonkeyPatch
):
    sender = FakeSender(["the receiver answered 500, 2xx is needed"] * 2)
    monkeypatch.setattr(deliveries, "new_sender", lambda config: sender)
    monkeypatch.setattr(deliveries, "RETRY_PAUSES_S", (0.01,) * 5)
    async with local_server(tmp_path / "jobs", webhook_secret_file=secret) as server:
        id = (await server.post(archive(1), params=HOOK))["id"]
        await until(lambda: len(sender.sent) == 3)
        await asyncio.sleep(0.1)
        job = await server.wait(id)

    assert job["webhook"] == {"url": HOOK["webhook"], "state": "delivered", "attempts": 3, "problem": None}
    assert len(set(sender.sent)) == 1 and b'"state":"done"' in sender.sent[0][2]


async def test_a_dead_receiver_holds_up_no_job_and_fails_at_last(
    tmp_path: Path, secret: str, monkeypatch: pytest.MonkeyPatch
):
    sender = FakeSender(["the receiver cannot be reached (ConnectError)"] * 100)
    monkeypatch.setattr(deliveries, "new_sender", lambda config: sender)
    monkeypatch.setattr(deliveries, "RETRY_PAUSES_S", (0.01, 0.01))
    async with local_server(tmp_path / "jobs", webhook_secret_file=secret, max_running_jobs=1) as server:
        ids = [(await server.post(archive(1), params=HOOK))["id"] for _ in range(3)]
        jobs = [await server.wait(id) for id in ids]
        await until(lambda: len(sender.sent) == 9)
        await asyncio.sleep(0.1)
        jobs = [await server.wait(id) for id in ids]

    assert {job["webhook"]["state"] for job in jobs} == {"failed"}
    assert Counter(id for _, id, _ in sender.sent) == dict.fromkeys(ids, 3)


async def test_receivers_that_do_not_answer_hold_up_no_other_caller(tmp_path: Path):
    sent: list[str] = []

    class SilentSender:
        async def send(self, url: str, id: str, body: bytes) -> None:
            sent.append(url)
            if "dead" in url:
                await asyncio.sleep(60)

    config = JobsConfig(folder=str(tmp_path))
    jobs = [Job(record(caller="key:a", webhook={"url": "https://dead.example"})) for _ in range(10)]
    jobs.append(Job(record(caller="key:b", webhook={"url": "https://alive.example"})))
    with ThreadPoolExecutor(2) as threads:
        all_of = Deliveries(
            config, JobStore(str(tmp_path)), threads, JobMetrics("api"), lambda _: SilentSender()
        )
        for job in jobs:
            all_of.start(job)
        await until(lambda: "https://alive.example" in sent)
        await all_of.close()

    assert Counter(sent) == {
        "https://dead.example": deliveries.MAX_DELIVERIES_PER_CALLER,
        "https://alive.example": 1,
    }


async def test_a_waiting_webhook_is_sent_by_the_next_runner(
    tmp_path: Path, secret: str, monkeypatch: pytest.MonkeyPatch
):
    dead, alive = FakeSender(["dead"]), FakeSender([])
    monkeypatch.setattr(deliveries, "new_sender", lambda config: dead)
    async with local_server(tmp_path / "jobs", webhook_secret_file=secret) as server:
        id = (await server.post(archive(1), params=HOOK))["id"]
        await until(lambda: len(dead.sent) == 1)
        await asyncio.sleep(0.1)
    monkeypatch.setattr(deliveries, "new_sender", lambda config: alive)
    async with local_server(tmp_path / "jobs", webhook_secret_file=secret) as server:
        await until(lambda: len(alive.sent) == 1)

    assert alive.sent[0][1] == id
