from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse

from serve.runtime.admission import publish_checks, serve_middlewares
from serve.runtime.errors import overloaded
from serve.runtime.security_headers import check_origin
from tests.serve.fakes import FakeModels, fake_app, picture
from ui.access import closed_site

HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}


def client_of(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server")


def security_headers(answer: httpx.Response) -> dict[str, str]:
    return {name: answer.headers[name] for name in HEADERS if name in answer.headers}


def in_serve(app: Any) -> Any:
    """Return an application within the middleware that Serve adds."""
    for middleware in serve_middlewares():
        app = middleware.cls(app, *middleware.args, **middleware.kwargs)
    return app


@pytest.mark.parametrize("path", ["/healthz", "/openapi.json", "/nothing"])
async def test_answers_of_the_api_have_all_headers(path: str):
    answer = await client_of(fake_app(FakeModels())).get(path)

    assert security_headers(answer) == HEADERS


async def test_the_list_of_networks_may_be_kept_but_not_by_a_shared_cache():
    answer = await client_of(fake_app(FakeModels())).get("/v1/models")

    assert security_headers(answer) == {**HEADERS, "cache-control": "private, no-cache"}


async def test_an_answer_about_a_photo_is_never_stored():
    client = client_of(fake_app(FakeModels()))

    answers = [await client.post("/v1/lesion", content=body) for body in (picture(), b"no photo")]

    assert [answer.status_code for answer in answers] == [200, 415]
    assert [security_headers(answer) for answer in answers] == [HEADERS] * 2


async def test_docs_may_run_their_own_scripts_but_not_in_a_frame():
    client = client_of(fake_app(FakeModels()))

    docs = await client.get("/docs")
    script = await client.get("/docs/static/swagger-ui.css")

    policy = docs.headers["content-security-policy"]
    assert "script-src 'self' 'unsafe-inline'" in policy and "frame-ancestors 'none'" in policy
    assert len(docs.headers.get_list("content-security-policy")) == 1
    assert script.status_code == 200
    assert "cache-control" not in script.headers, "1.5 MB at each visit"
    assert (await client.get("/favicon.ico")).headers["cache-control"] == "public, max-age=86400"


async def test_rejections_around_serve_have_all_headers():
    def full() -> None:
        raise overloaded("full", 2)

    publish_checks({"/v1/lesion": full})
    answer = await client_of(in_serve(fake_app(FakeModels()))).post("/v1/lesion")
    publish_checks({})

    assert answer.status_code == 503
    assert security_headers(answer) == HEADERS


async def test_the_list_of_applications_of_serve_is_closed_and_its_health_check_is_not():
    client = client_of(in_serve(PlainTextResponse("from Serve")))

    for method in ("GET", "POST", "HEAD"):
        assert (await client.request(method, "/-/routes")).status_code == 404
    closed, health = await client.get("/-/routes"), await client.get("/-/healthz")

    assert closed.json()["error"]["code"] == "not_found"
    assert health.text == "from Serve"


async def test_a_page_that_is_off_has_all_headers():
    answer = await client_of(closed_site()).get("/ui/")

    assert answer.status_code == 404
    assert security_headers(answer) == HEADERS


@pytest.mark.parametrize(
    "origin",
    ["https://portal.example/path", "portal.example", "https://a.example 'none'", "*", "https://x:443"],
)
def test_other_texts_are_no_origin(origin: str):
    with pytest.raises(ValueError, match="is no origin; write scheme and host"):
        check_origin(origin)
