"""Two processes of the page behind a round robin; one is killed while 200 people use it."""

import asyncio
import contextlib
import itertools
import multiprocessing
import threading
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from pathlib import Path
from queue import SimpleQueue

import httpx
import pytest
import uvicorn
from playwright.sync_api import Browser, expect

import ui.site
from tests.ui.conftest import FakeApi, patch_examples, served
from tests.ui.test_lesion_in_browser import file_of, jpeg
from ui.config import UiConfig

pytestmark = [pytest.mark.browser, pytest.mark.slow]

NUM_SESSIONS, NUM_CLIENTS, KILL_AFTER = 200, 20, 60
MAX_TRIES = 3
RETRY_AFTER_S = 1.0  # a person presses "Try again"; a killed process takes a moment to close its port
START_TIMEOUT_S = 120


def serve_page(config: UiConfig, ports: "Queue[int]") -> None:
    """Serve the page on a free port, which is put into the queue, until the process is killed."""
    with pytest.MonkeyPatch.context() as patch:
        patch_examples(patch)
        server = uvicorn.Config(ui.site.build_site(config), port=0, log_level="error")
        listening = server.bind_socket()
        ports.put(listening.getsockname()[1])
        uvicorn.Server(server).run(sockets=[listening])


@pytest.fixture
def replicas(tmp_path: Path) -> Iterator[dict[int, BaseProcess]]:
    """Start two processes of the page that relay to one API; return them by port."""
    (tmp_path / "key").write_text("skin_key-of-the-page\n")
    context = multiprocessing.get_context("spawn")
    with served(FakeApi().app()) as api_url:
        config = UiConfig(api_url=api_url, api_key_file=tmp_path / "key", access="open")
        ports: Queue[int] = context.Queue()
        processes = [context.Process(target=serve_page, args=(config, ports)) for _ in range(2)]
        started = {}
        for process in processes:
            process.start()
            started[ports.get(timeout=START_TIMEOUT_S)] = process
        for port in started:
            _wait_for(f"http://127.0.0.1:{port}/alive")
        yield started
        for process in processes:
            process.kill()
            process.join()


def _wait_for(address: str) -> None:
    until = time.monotonic() + START_TIMEOUT_S
    while True:
        with contextlib.suppress(httpx.TransportError):
            httpx.get(address, trust_env=False)
            return
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.fixture
def address(replicas: dict[int, BaseProcess]) -> Iterator[str]:
    """Serve a round robin over connections; a process that refuses one is passed over."""
    ports = itertools.cycle(replicas)

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for port in itertools.islice(ports, len(replicas)):
            with contextlib.suppress(ConnectionError):
                answers, requests = await asyncio.open_connection("127.0.0.1", port)
                await asyncio.gather(_copy(reader, requests), _copy(answers, writer))
                return
        writer.close()

    async def balance() -> None:
        server = await asyncio.start_server(pass_on, "127.0.0.1")
        started.put(server.sockets[0].getsockname()[1])
        await asyncio.to_thread(stopped.wait)

    started: SimpleQueue[int] = SimpleQueue()
    stopped = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(balance()))
    thread.start()
    yield f"http://127.0.0.1:{started.get()}/"
    stopped.set()
    thread.join()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while part := await reader.read(65_536):
            writer.write(part)
            await writer.drain()
    writer.close()


class People:
    """Open the page, send a photo and have the answer rendered, 20 people at a time; repeat what fails."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._clients = asyncio.Semaphore(NUM_CLIENTS)
        self.outcomes: Counter[str] = Counter()

    async def come(self, process: BaseProcess) -> None:
        """Run all sessions; kill the process after some of them."""

        async def kill() -> None:
            while self.outcomes["answered"] < KILL_AFTER:
                await asyncio.sleep(0.01)
            process.kill()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(kill())
            for _ in range(NUM_SESSIONS):
                tasks.create_task(self._session())

    async def _session(self) -> None:
        async with (
            self._clients,
            httpx.AsyncClient(base_url=self._address, trust_env=False, timeout=30) as client,
        ):
            await self._request(client, "GET", "")
            await self._request(client, "GET", "static/page.js")
            answer = await self._request(client, "POST", "v1/lesion", files={"file": jpeg()})
            rendered = await self._request(client, "POST", "render/lesion", json=answer.json())
            self.outcomes["answered" if "Looks benign" in rendered.text else "wrong"] += 1

    async def _request(self, client: httpx.AsyncClient, method: str, path: str, **content) -> httpx.Response:
        for _ in range(MAX_TRIES):
            try:
                return (await client.request(method, path, **content)).raise_for_status()
            except httpx.HTTPError:  # what the page shows as "No connection to the server" with Try again
                self.outcomes["failed requests"] += 1
                await asyncio.sleep(RETRY_AFTER_S)
        raise AssertionError(f"{path} failed {MAX_TRIES} times")


def test_no_session_is_lost_when_one_of_two_processes_is_killed(
    chromium: Browser, address: str, replicas: dict[int, BaseProcess]
):
    page = chromium.new_page()
    page.goto(address)
    expect(page.locator("#panel-lesion .photo-input")).to_be_visible()

    people = People(address)
    thread = threading.Thread(target=lambda: asyncio.run(people.come(next(iter(replicas.values())))))
    thread.start()  # Playwright holds the event loop of this thread
    thread.join()

    assert people.outcomes["answered"] == NUM_SESSIONS, people.outcomes
    print(dict(people.outcomes))
    page.locator("#panel-lesion .drop input").set_input_files([file_of(jpeg())])
    expect(page.locator("#panel-lesion .verdict h3")).to_have_text("Looks benign")
    page.close()
