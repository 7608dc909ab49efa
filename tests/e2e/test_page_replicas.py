"""Two replicas of the page, of which one is killed while 200 people use it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.page_visitors import Visitors
from serve.runtime.keys_file import key_digest
from tests.conftest import Server, StartServer
from tests.e2e.own_server import own_server

pytestmark = [pytest.mark.server, pytest.mark.slow]

NUM_SESSIONS, NUM_AT_ONCE, KILL_AFTER = 200, 20, 60
PAGE_KEY = "key-of-the-page"


@pytest.fixture(scope="module")
def two_pages(
    start_server: StartServer, server_config: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server with keys, so that photos too pass the page, which relays them with its key."""
    folder = tmp_path_factory.mktemp("two-pages")
    keys = {"keys": [{"name": "page", "sha256": key_digest(PAGE_KEY), "roles": ["predict"]}]}
    (folder / "keys.yaml").write_text(yaml.safe_dump(keys))
    (folder / "page.key").write_text(PAGE_KEY)

    def change(api: dict[str, Any], page: dict[str, Any]) -> None:
        api["gateway"] |= {"keys_file": str(folder / "keys.yaml"), "allowed_origins": []}
        page |= {"api_key_file": str(folder / "page.key"), "access": "open"}

    own = own_server(
        *(start_server, server_config, folder, change), replicas={"Page": 2}, has_page=True, in_gateway=True
    )
    with own as server:
        yield server


async def test_no_session_is_lost_when_one_of_two_replicas_is_killed(two_pages: Server, lesion: bytes):
    visitors = Visitors(f"{two_pages.url}/ui/", lesion, num_at_once=NUM_AT_ONCE)

    async def kill() -> None:
        while visitors.answered < KILL_AFTER:
            await asyncio.sleep(0.05)
        two_pages.replicas("Page", application="ui")[0].kill()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(kill())
        tasks.create_task(visitors.come(NUM_SESSIONS))

    print(f"repeated requests: {dict(visitors.failures)}")
    assert visitors.answered == NUM_SESSIONS
    assert visitors.failures.total() <= 2 * NUM_AT_ONCE
