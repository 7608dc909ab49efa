"""Limits of the whole server: four gateways behind HAProxy, and headers that clients forge."""

import asyncio
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from serve.runtime.keys_file import key_digest, new_key
from tests.conftest import PROXY_SECRET, START_TIMEOUT_S, Server, StartServer
from tests.e2e.own_server import own_server

pytestmark = [pytest.mark.slow, pytest.mark.server]

NUM_KEYS = 20
RATE, BURST = 1, 5
LIMITED = {"requests_per_second": RATE, "burst": BURST}
SECONDS = 20
OFFERED = 2
"""Times the limit."""
HAPROXY_RELOAD_S = 3.0
"""Until HAProxy sends requests to a gateway that has started."""


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Keys by name."""
    return {f"clinic-{index}": new_key() for index in range(NUM_KEYS)}


@pytest.fixture(scope="module")
def limited_server(
    start_server: StartServer,
    server_config: Path,
    keys: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    """A server with four gateways and a limit for each key."""
    folder = tmp_path_factory.mktemp("limits")
    entries = [
        {"name": name, "sha256": key_digest(key), "roles": ["predict", "bulk"], "limit": LIMITED}
        for name, key in keys.items()
    ]
    daily = {"photos_per_day": 3, "time_zone": "Europe/Berlin"}
    entries.append({"name": "daily", "sha256": key_digest("daily-key"), "roles": ["predict"], "limit": daily})
    (folder / "keys.yaml").write_text(yaml.safe_dump({"keys": entries}), encoding="utf-8")
    (folder / "keys.yaml").chmod(0o600)
    gateway = {"keys_file": str(folder / "keys.yaml"), "quota_folder": str(folder / "quotas")}
    with _four_gateways(start_server, server_config, folder, gateway) as server:
        yield server


@pytest.fixture(scope="module")
def address_server(
    start_server: StartServer, server_config: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server without keys that limits the addresses which the trusted proxy sends."""
    limit = {"requests_per_second": 0.01, "burst": 5}
    folder = tmp_path_factory.mktemp("addresses")
    with _four_gateways(start_server, server_config, folder, {"client_limit": limit}) as server:
        yield server


async def offer(url: str, keys: dict[str, str], seconds: float) -> tuple[dict[str, Counter[int]], float]:
    """Offer twice the limit of each key; return the statuses and the time until the last request."""
    statuses: dict[str, Counter[int]] = {name: Counter() for name in keys}
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits, trust_env=False) as client:

        async def send(name: str, key: str) -> None:
            answer = await client.get("/openapi.json", headers={"authorization": f"Bearer {key}"})
            statuses[name][answer.status_code] += 1
            if answer.status_code == 429:
                assert int(answer.headers["retry-after"]) >= 1
            assert answer.headers["ratelimit-limit"] == str(BURST)

        start = time.monotonic()
        sent: list[asyncio.Task[None]] = []
        for index in range(round(seconds * RATE * OFFERED * len(keys))):
            due = start + index / (RATE * OFFERED * len(keys))
            await asyncio.sleep(max(0, due - time.monotonic()))
            sent.append(asyncio.create_task(send(*list(keys.items())[index % len(keys)])))
        elapsed_s = time.monotonic() - start
        await asyncio.gather(*sent)
        return statuses, elapsed_s


async def test_keys_are_limited_over_all_gateways(limited_server: Server, keys: dict[str, str]):
    assert len(limited_server.replicas("Gateway")) == 4

    statuses, elapsed_s = await offer(limited_server.url, keys, SECONDS)

    accepted = {name: counts[200] for name, counts in statuses.items()}
    expected = RATE * elapsed_s + BURST
    print(f"{elapsed_s:.1f} s, expected {expected:.1f}, accepted {sorted(accepted.values())}")
    assert {status for counts in statuses.values() for status in counts} == {200, 429}
    for name, number in accepted.items():
        low, high = 0.95 * RATE * elapsed_s + BURST - 1, 1.05 * RATE * elapsed_s + BURST
        assert low <= number <= high, (name, number)  # a part of a token is not granted


async def test_a_killed_limiter_fails_no_request(limited_server: Server, keys: dict[str, str]):
    await offer(limited_server.url, keys, 3)
    [limiter] = _limiters(limited_server)

    load = asyncio.create_task(offer(limited_server.url, keys, 12))
    await asyncio.sleep(2)
    limiter.send_signal(signal.SIGKILL)
    statuses, elapsed_s = await load

    accepted = sorted(counts[200] for counts in statuses.values())
    print(f"{elapsed_s:.1f} s, accepted {accepted}")
    assert {status for counts in statuses.values() for status in counts} == {200, 429}
    assert accepted[-1] <= 2 * RATE * elapsed_s + BURST
    assert accepted[0] >= 0.3 * RATE * elapsed_s


async def test_photos_of_a_day_are_counted_and_kept(limited_server: Server, lesion: bytes, tmp_path: Path):
    headers = {"authorization": "Bearer daily-key"}
    async with httpx.AsyncClient(base_url=limited_server.url, timeout=90, trust_env=False) as client:
        answers = [await client.post("/v1/lesion", content=lesion, headers=headers) for _ in range(5)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    message = answers[-1].json()["error"]["message"]
    assert re.search(
        r"all were used; the next day begins at .*T00:00:00\+0[12]:00 \(Europe/Berlin\)", message
    )


def test_forged_addresses_share_the_limit_of_all(address_server: Server):
    """At the port of HAProxy and at the ports of the replicas, which any client of the network reaches."""
    forged: dict[str, str] = {}
    ports = [address_server.port, *_replica_ports(address_server)]
    assert len(ports) == 5
    statuses: list[int] = []
    for port in ports:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
            for index in range(4):
                forged = {
                    "x-forwarded-for": f"192.0.2.{index}",
                    "forwarded": f"for=192.0.2.{index}",
                    "x-real-ip": f"192.0.2.{index}",
                    "x-skinserve-proxy-secret": "a-forged-secret-of-the-proxy",
                    "x-forwarded-proto": "https",
                    "x-forwarded-prefix": "/evil",
                }
                answer = client.get("/openapi.json", headers=forged)
                statuses.append(answer.status_code)
                assert answer.status_code == 429 or "servers" not in answer.json()
            trusted = client.get(
                "/openapi.json", headers={**forged, "x-skinserve-proxy-secret": PROXY_SECRET}
            )
            assert trusted.status_code in (200, 429)

    assert Counter(statuses) == {200: 5, 429: 15}
    assert "each address that the proxy nginx sends" in address_server.output()


def test_addresses_of_the_trusted_proxy_have_limits_of_their_own(address_server: Server):
    with httpx.Client(base_url=address_server.url, timeout=30, trust_env=False) as client:
        statuses = [
            client.get(
                "/openapi.json",
                headers={
                    "x-skinserve-proxy-secret": PROXY_SECRET,
                    "x-forwarded-for": f"203.0.113.{index}, 198.51.100.{index % 2}",
                },
            ).status_code
            for index in range(14)
        ]

    assert Counter(statuses) == {200: 10, 429: 4}


@contextmanager
def _four_gateways(
    start_server: StartServer, server_config: Path, folder: Path, gateway: Mapping[str, object]
) -> Iterator[Server]:
    """Run a server until all its gateways answer; the server is ready when the first one does."""

    def change(api: dict[str, Any], page: dict[str, Any]) -> None:
        api["gateway"].update(gateway)

    with own_server(start_server, server_config, folder, change, replicas={"Gateway": 4}) as server:
        until = time.monotonic() + START_TIMEOUT_S
        while len(_replica_ports(server)) < 4:
            assert time.monotonic() < until
            time.sleep(0.5)
        time.sleep(HAPROXY_RELOAD_S)
        yield server


def _limiters(server: Server) -> list[psutil.Process]:
    return [
        process
        for process in psutil.Process(server.process.pid).children(recursive=True)
        if process.cmdline()[:1] and "Limiter" in process.cmdline()[0]
    ]


def _replica_ports(server: Server) -> list[int]:
    """Return the ports at which the gateways listen for HAProxy."""
    ports = {
        connection.laddr.port
        for replica in server.replicas("Gateway")
        for connection in replica.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and 30_000 <= connection.laddr.port < 31_000
    }
    return sorted(ports)
