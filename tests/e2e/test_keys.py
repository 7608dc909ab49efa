"""The real server with keys: every kind of credential, changes without a restart, the page."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from cli.main import main
from serve.runtime.keys_file import change_keys
from tests.conftest import PROXY_SECRET, Server
from tests.e2e.keyed_server import AUDIENCE, ISSUER, KeyedServer, issuer_key
from ui.client import ApiClient

pytestmark = [pytest.mark.server]

FOLLOWED_WITHIN_S = 10
NUM_CONSECUTIVE = 8
"""Equal answers after which both gateways count as updated: HAProxy sends requests to each in turn."""


@pytest.fixture(scope="module")
def file(keyed: KeyedServer) -> Path:
    return keyed.keys_file


@pytest.fixture(scope="module")
def keyed_server(keyed: KeyedServer) -> Server:
    return keyed.server


@pytest.fixture(scope="module")
def http(keyed_server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=keyed_server.url, timeout=90, trust_env=False) as client:
        yield client


@pytest.fixture
def add(file: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Make a key by the command line, and return it."""

    def run(name: str, *options: str) -> str:
        capsys.readouterr()
        assert main(["keys", "add", name, "--file", str(file), *options]) == 0
        return capsys.readouterr().out.strip()

    return run


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def wait_for_status(http: httpx.Client, headers: dict[str, str], status: int) -> None:
    """Poll ``/v1/models`` until both gateways answer with a status; they follow within seconds."""
    until, num_right = time.monotonic() + FOLLOWED_WITHIN_S, 0
    while num_right < NUM_CONSECUTIVE:
        found = http.get("/v1/models", headers=headers).status_code
        num_right = num_right + 1 if found == status else 0
        assert time.monotonic() < until, found
        time.sleep(0.02 if num_right else 0.1)


def test_the_start_states_what_needs_a_key(keyed_server: Server, file: Path):
    assert f"every request needs a key of {file}" in keyed_server.output()
    assert "the page is open through the trusted proxy only" in keyed_server.output()


def test_nothing_but_health_answers_without_a_key(http: httpx.Client, lesion: bytes):
    for path in ("/healthz", "/readyz"):
        assert (http.get(path).status_code, http.head(path).status_code) == (200, 200)
        assert http.post(path).status_code == 401
    for path in (
        "/",
        "/docs",
        "/openapi.json",
        "/v1/models",
        "/nothing",
        "//healthz",
        "/healthz/",
        "/favicon.ico",
    ):
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND"):
            answer = http.request(method, path)
            assert answer.status_code == 401, (method, path)
            assert answer.headers["www-authenticate"] == "Bearer"
    answer = http.post("/v1/lesion", content=lesion)
    assert answer.json()["error"]["code"] == "unauthorized" and answer.headers["x-request-id"]


def test_a_new_key_answers_without_a_restart_in_both_headers(http: httpx.Client, add: Any, lesion: bytes):
    key = add("ward", "--roles", "predict")
    wait_for_status(http, bearer(key), 200)

    for headers in (bearer(key), {"X-API-Key": key}):
        assert http.post("/v1/lesion", content=lesion, headers=headers).status_code == 200
    forbidden = http.post("/v1/lesion/batch", files={"files": lesion}, headers=bearer(key))
    assert (forbidden.status_code, forbidden.json()["error"]["code"]) == (403, "forbidden")


def test_a_token_of_the_issuer_answers(http: httpx.Client, lesion: bytes):
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "roles": ["doctor"]}
    headers = {"kid": "one"}
    good = jwt.encode({**claims, "exp": time.time() + 600}, issuer_key(), "RS256", headers=headers)
    expired = jwt.encode({**claims, "exp": time.time() - 600}, issuer_key(), "RS256", headers=headers)

    assert http.post("/v1/lesion", content=lesion, headers=bearer(good)).status_code == 200
    rejected = http.post("/v1/lesion", content=lesion, headers=bearer(expired))
    assert rejected.status_code == 401 and "has expired" in rejected.text


def test_a_key_over_its_limit_gets_retry_after(http: httpx.Client, add: Any):
    key = add("eager", "--requests-per-second", "1", "--burst", "60")
    wait_for_status(http, bearer(key), 200)

    answers = [http.get("/v1/models", headers=bearer(key)) for _ in range(120)]

    limited = [answer for answer in answers if answer.status_code == 429]
    assert 10 < len(limited) < 120
    assert {answer.json()["error"]["code"] for answer in limited} == {"rate_limited"}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in limited)


def test_a_revoked_key_is_rejected_within_seconds(http: httpx.Client, add: Any, file: Path):
    key = add("leaver")
    wait_for_status(http, bearer(key), 200)

    assert main(["keys", "revoke", "leaver", "--file", str(file)]) == 0

    wait_for_status(http, bearer(key), 401)


def count_log_lines(server: Server, file: Path) -> int:
    """Count the lines about a file in the logs of the workers.

    Ray Serve drops lines below its log level; ``RAY_SERVE_LOG_TO_STDERR`` keeps ours.
    """
    logs = server.home / "ray" / "session_latest" / "logs"
    return sum(one.read_text(errors="replace").count(str(file)) for one in logs.glob("worker-*.err"))


def test_a_mistake_in_the_file_is_logged_and_leaves_the_last_good_keys_in_force(
    http: httpx.Client, keyed_server: Server, add: Any, file: Path
):
    key = add("steady")
    wait_for_status(http, bearer(key), 200)
    good = file.read_text()

    try:
        for mistake in (good.replace("predict", "king"), good[: len(good) // 2] + "\n - [", ""):
            num_known = count_log_lines(keyed_server, file)
            file.write_text(mistake)
            until = time.monotonic() + 30
            while count_log_lines(keyed_server, file) == num_known:
                assert http.get("/v1/models", headers=bearer(key)).status_code == 200
                assert time.monotonic() < until, "the mistake is not in the log"
                time.sleep(0.2)
            wait_for_status(http, bearer(key), 200)
    finally:
        file.write_text(good)
    change_keys(file, lambda entries: [one for one in entries if one.name != "steady"])
    wait_for_status(http, bearer(key), 401)


async def test_the_page_answers_with_its_own_key(keyed_server: Server, http: httpx.Client, lesion: bytes):
    proxied = {"x-skinserve-proxy-secret": PROXY_SECRET}
    assert [http.get("/ui/", headers=one).status_code for one in ({}, proxied)] == [401, 200]
    key_file = keyed_server.home / "page.key"
    assert key_file.stat().st_mode & 0o777 == 0o600

    client = ApiClient(keyed_server.url, key=key_file.read_text())
    answer = await client.lesion(lesion)
    await client.close()

    assert answer.verdict
    direct, relayed = (
        http.post(path, content=lesion, headers=proxied) for path in ("/v1/lesion", "/ui/v1/lesion")
    )
    assert (direct.status_code, relayed.status_code) == (401, 200)
    assert relayed.json()["verdict"] == answer.verdict and relayed.headers["x-request-id"]


def test_no_key_is_in_a_log(keyed_server: Server, http: httpx.Client, add: Any):
    key = add("logged")
    wait_for_status(http, bearer(key), 200)
    http.get("/v1/models", headers=bearer("skin_wrong-key"))
    secret = (keyed_server.home / "page.key").read_text()

    for log in keyed_server.home.rglob("*.log"):
        text = log.read_text(encoding="utf-8", errors="replace")
        assert not any(word in text for word in (key, "skin_wrong-key", secret)), log
