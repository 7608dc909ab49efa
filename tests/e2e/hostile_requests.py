"""Requests without a valid key, in every form, and the check that none is answered."""

import asyncio
import gzip
import json
import re
from collections.abc import Mapping

from serve.runtime.keys_file import key_digest
from tests.conftest import PROXY_SECRET, ROOT
from tests.e2e.keyed_server import CLINIC_KEY as KEY
from tests.e2e.raw_http import Answer, request, send_all

HEALTH_MEMBERS = ({"status", "waiting_for"}, {"live"}, {"ready"})
"""Members of the body of each health check."""
METHODS = (
    *("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"),
    *("get", "Post", "PROPFIND", "X-INVENTED"),
)
API_PATHS = (
    *json.loads((ROOT / "tests" / "serve" / "openapi.json").read_text(encoding="utf-8"))["paths"],
    *("/", "/docs", "/docs/static/swagger-ui.css", "/openapi.json", "/favicon.ico", "/robots.txt"),
    *("/v2/models/lesion/infer", "/v1", "/nothing", "/metrics", "/stats"),
    *("/internal/route", "/api/serve/applications/", "/gradio_api/upload"),
)
PAGE_PATHS = (
    *(
        "/ui",
        "/ui/",
        "/ui/config",
        "/ui/theme.css",
        "/ui/alive",
        "/ui/logout",
        "/ui/monitoring",
        "/ui/nothing",
    ),
    *("/ui/gradio_api/upload", "/ui/gradio_api/queue/join", "/ui/gradio_api/queue/data?session_hash=x"),
    *("/ui/gradio_api/file=/etc/passwd", "/ui/gradio_api/heartbeat/x", "/ui/gradio_api/info"),
    *("/ui/gradio_api/call/lesion", "/ui/gradio_api/run/predict", "/ui/gradio_api/reset", "/ui/static/fonts"),
)
TRICKS = (
    *("//v1/models", "/./v1/models", "/v1/./models", "/v1//models", "/healthz/../v1/models"),
    *("/%2e%2e/v1/models", "/healthz/%2e%2e/v1/models", "/healthz%2f..%2fv1%2fmodels", "/v1%2fmodels"),
    *("/v1/models/", "/v1/models;a=b", "/healthz;/v1/models", "/V1/Models", "/v1/models%00", "/v1/models%20"),
    *(
        "/healthz%00/../v1/models",
        "/healthz%0d%0aX-API-Key:%20x",
        "/v1/models#/healthz",
        "/healthz/v1/models",
    ),
    *("/healthz?/../v1/models", "/v1/models?/healthz", "/healthz/", "/HEALTHZ", "//healthz", "/healthz%2f"),
    *("/readyz/../docs", "/%252e%252e/v1/models", "/v1/\\models", "/\\v1/models", "*", "v1/models", ""),
    *("http://127.0.0.1/v1/models", "http://evil.example/v1/models", "//evil.example/v1/models"),
    *(
        "/ui/../v1/models",
        "/ui/%2e%2e/v1/models",
        "/ui//config",
        "/ui/;/config",
        "/UI/config",
        "/ui%2fconfig",
    ),
    *("/ui/gradio_api/file=../../../etc/passwd", "/ui/./config", "/-/healthz/../../v1/models"),
    *("/-/routes/", "/-//routes", "/%2d/routes", "/-/", "/v1/models\x00", "/\x00", "/v1/models\xff"),
    *("/" + "a" * 5_000, "/" + "a" * 70_000, "/v1/models?" + "a" * 70_000),
)
HEADERS: dict[str, list[tuple[str, str]]] = {
    "other path": [("X-Original-URL", "/healthz"), ("X-Rewrite-URL", "/healthz"), ("X-Accel-Redirect", "/")],
    "other method": [
        ("X-HTTP-Method-Override", "GET"),
        ("X-HTTP-Method", "GET"),
        ("X-Method-Override", "GET"),
    ],
    "prefix": [
        ("X-Forwarded-Prefix", "/healthz"),
        ("X-Script-Name", "/v1"),
        ("X-Forwarded-Path", "/healthz"),
    ],
    "address": [("X-Forwarded-For", "127.0.0.1"), ("X-Real-IP", "127.0.0.1"), ("Forwarded", "for=127.0.0.1")],
    "host": [("X-Forwarded-Host", "localhost"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Port", "443")],
    "forged secret": [
        ("X-Skinserve-Proxy-Secret", "forged-secret-of-proxy"),
        ("X-Forwarded-For", "10.0.0.1"),
    ],
    "empty secret": [("X-Skinserve-Proxy-Secret", ""), ("X-Forwarded-For", "10.0.0.1")],
    "two secrets": [("X-Skinserve-Proxy-Secret", PROXY_SECRET), ("X-Skinserve-Proxy-Secret", PROXY_SECRET)],
    "empty key": [("Authorization", ""), ("X-API-Key", "")],
    "basic": [("Authorization", "Basic YWRtaW46YWRtaW4=")],
    "no token": [("Authorization", "Bearer")],
    "null": [("Authorization", "Bearer null"), ("X-API-Key", "null")],
    "key and wrong key": [("Authorization", f"Bearer {KEY}"), ("Authorization", "Bearer wrong")],
    "two forms": [("Authorization", f"Bearer {KEY}"), ("X-API-Key", "wrong")],
    "list": [("Authorization", f"Bearer {KEY}, Bearer wrong")],
    "digest": [("Authorization", f"Bearer {key_digest(KEY)}")],
    "part": [("X-API-Key", KEY[:-1])],
    "unsigned token": [("Authorization", "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.")],
    "long key": [("Authorization", "Bearer " + "a" * 50_000)],
    "cookie": [("Cookie", f"key={KEY}; access-token={KEY}")],
    "other names": [("Proxy-Authorization", f"Bearer {KEY}"), ("X-Auth-Token", KEY), ("Api-Key", KEY)],
    "underscore": [("X_API_Key", KEY)],
    "hop by hop": [("Connection", "close, X-Forwarded-For, Authorization")],
    "model id": [("serve_multiplexed_model_id", "lesion"), ("serve-multiplexed-model-id", "lesion")],
    "websocket": [
        *(("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "13")),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ],
    "http/2": [("Upgrade", "h2c"), ("Connection", "Upgrade, HTTP2-Settings"), ("HTTP2-Settings", "AAMAAABk")],
    "own origin": [("Origin", "http://127.0.0.1"), ("Sec-Fetch-Site", "same-origin")],
}
CHUNKED = b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"a":\r\n2\r\n1}\r\n0\r\n\r\n'
POST = b"POST /v1/lesion HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
HIDDEN = b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
BODIES: dict[str, bytes] = {
    "gzip": request("POST", "/v1/lesion", {"Content-Encoding": "gzip"}, gzip.compress(b"photo" * 1000)),
    "not gzip": request("POST", "/v1/lesion", {"Content-Encoding": "gzip"}, b"photo"),
    "chunked": POST + CHUNKED,
    "bad chunk": POST + CHUNKED.replace(b"\r\n5\r\n", b"\r\nfive\r\n"),
    "expect": request("POST", "/v1/lesion", {"Expect": "100-continue"}, b"photo"),
    "other expectation": request("POST", "/v1/lesion", {"Expect": "200-ok"}, b"photo"),
    "length and chunks": POST + b"Content-Length: 5\r\n" + CHUNKED,
    "two lengths": POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nphoto",
    "negative length": POST + b"Content-Length: -1\r\n\r\nphoto",
    "hidden request": request("GET", "/healthz", {}, HIDDEN),
    "hidden behind chunks": b"POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n" + CHUNKED + HIDDEN,
    "http/1.0": b"GET /v1/models HTTP/1.0\r\n\r\n",
    "http/0.9": b"GET /v1/models\r\n\r\n",
    "http/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
    "folded header": b"GET /v1/models HTTP/1.1\r\nHost: a\r\nX-API-Key:\r\n " + KEY.encode() + b"x\r\n\r\n",
    "no header": b"GET /v1/models HTTP/1.1\r\nConnection: close\r\n\r\n",
    "bytes": bytes(range(256)),
    "nothing": b"\r\n\r\n\r\n",
}


async def check_closed(ports: Mapping[str, int], requests: Mapping[str, bytes]) -> None:
    """Send requests to every port; fail if any answer has more than an error or the state of health."""
    leaks = {}
    answers_of_targets = await asyncio.gather(*(send_all(port, requests) for port in ports.values()))
    for target, answers in zip(ports, answers_of_targets, strict=True):
        for name, answer in answers.items():
            if not (_is_rejection(answer) or _is_health(answer)):
                leaks[target, name] = (answer.status, answer.body[:200])
    assert leaks == {}, leaks


def _is_rejection(answer: Answer) -> bool:
    if answer.status == 0:
        return answer.body == b""
    if answer.status == 401:
        return "www-authenticate: bearer" in answer.headers and _names_nothing(answer.body)
    if answer.status == 404:  # of Serve or HAProxy: a path of no application of this process; /-/routes
        own = rb"Path '.*' not found\. Ping |no route [A-Z]+ /-/routes; /docs lists all routes"
        return answer.body == b"" or re.search(own, answer.body, re.DOTALL) is not None
    if answer.status == 500:  # of Serve: a WebSocket of another application
        return answer.body == b"Internal Server Error"
    return answer.status in (400, 403, 405, 414, 431, 501) and _names_nothing(answer.body)


def _names_nothing(body: bytes) -> bool:
    """Return whether an error names neither networks nor routes, versions or files."""
    names = (
        b"lesion-",
        b"progress-",
        b"checkpoint",
        b"/v1/",
        b"gradio",
        b"traceback",
        b"root:",
        b'version":',
    )
    return len(body) < 400 and not any(name in body.lower() for name in names)


def _is_health(answer: Answer) -> bool:
    if answer.status not in (200, 503):
        return False
    try:
        return not answer.body or set(json.loads(answer.body)) in HEALTH_MEMBERS
    except ValueError:
        return False
