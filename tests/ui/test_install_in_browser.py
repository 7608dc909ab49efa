"""The installed page in headless Chromium: offline page, caches, shared photos."""

import contextlib
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

import ui.site
from tests.ui.conftest import TIMEOUT_MS, FakeApi, check_width, patch_examples, screen_of, screens, served
from tests.ui.test_history_in_browser import keep_lesion
from ui.client import ApiClient
from ui.config import UiConfig

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings(
        "ignore:'future.no_silent_downcasting' is deprecated"
    ),  # by Gradio's statistics
]

SHARE = """
async (names) => {
    const form = Object.assign(document.createElement('form'), {
        action: 'share', method: 'post', enctype: 'multipart/form-data',
    });
    const input = document.createElement('input');
    Object.assign(input, { type: 'file', name: 'photos', multiple: true });
    const transfer = new DataTransfer();
    const canvas = Object.assign(document.createElement('canvas'), { width: 320, height: 240 });
    canvas.getContext('2d').fillRect(0, 0, 320, 240);
    const photo = await new Promise((resolve) => canvas.toBlob(resolve, 'image/jpeg'));
    for (const name of names) transfer.items.add(new File([photo], name, { type: 'image/jpeg' }));
    input.files = transfer.files;
    form.append(input);
    document.body.append(form);
    form.submit();
}
"""
ALL_CACHED = """
async () => {
    const urls = [];
    for (const name of await caches.keys()) {
        for (const { url } of await (await caches.open(name)).keys()) urls.push(new URL(url).pathname);
    }
    return urls;
}
"""


@pytest.fixture
def context(request: pytest.FixtureRequest, chromium: Browser) -> Iterator[BrowserContext]:
    context = chromium.new_context(**screen_of(request), reduced_motion="reduce")
    context.set_default_timeout(TIMEOUT_MS)
    expect.set_options(timeout=TIMEOUT_MS)
    yield context
    for page in context.pages:
        check_width(page)
    context.close()


@pytest.fixture
def server(api: FakeApi) -> Iterator[tuple[str, contextlib.ExitStack, list[str]]]:
    """Serve the page; return its address, the stack that stops it, and its list of requests."""
    api.reset()
    requests: list[str] = []
    client = ApiClient("http://api", transport=httpx.ASGITransport(api.app()))
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        patch_examples(patch)
        site = api.app()
        site.mount("/ui", ui.site.build_site(UiConfig(), client))

        async def recorded(scope, receive, send) -> None:
            if scope["type"] == "http":
                requests.append(f"{scope['method']} {scope['path']}")
            await site(scope, receive, send)

        yield f"{stack.enter_context(served(recorded))}/ui/", stack, requests


def open_installed(context: BrowserContext, address: str) -> Page:
    page = context.new_page()
    page.goto(address)
    expect(page.locator("#panel-lesion .photo-input")).to_be_visible()
    page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    while not page.evaluate("navigator.serviceWorker.controller !== null"):
        page.wait_for_timeout(50)
    return page


def test_the_manifest_can_be_installed(context: BrowserContext, server):
    page = open_installed(context, server[0])
    devtools = context.new_cdp_session(page)

    manifest = devtools.send("Page.getAppManifest")
    problems = devtools.send("Page.getInstallabilityErrors")["installabilityErrors"]

    assert manifest["url"] == f"{server[0]}manifest.webmanifest" and manifest["errors"] == []
    assert [one["errorId"] for one in problems if one["errorId"] != "in-incognito"] == []


@screens("context")
def test_without_the_server_kept_answers_can_be_opened(context: BrowserContext, server, api: FakeApi):
    address, stack, _ = server
    page = open_installed(context, address)
    keep_lesion(page, api, "Left arm", 0.5)
    stack.close()

    page.reload()

    expect(page.get_by_role("heading", name="The server cannot be reached")).to_be_visible()
    page.locator("[data-action=open]").click()
    expect(page.locator(".answer .verdict h3")).to_have_text("Have it checked")
    expect(page.locator(".photo [data-photo]")).to_have_js_property("naturalWidth", 320)
    page.evaluate("() => { window.print = () => { document.documentElement.dataset.printed = 'yes'; }; }")
    page.get_by_role("button", name="Print or save as PDF").click()
    expect(page.locator("html")).to_have_attribute("data-printed", "yes")
    assert page.locator("#report h2").first.text_content() == "Have it checked"


def test_photos_answers_and_the_api_are_not_cached(context: BrowserContext, server, api: FakeApi):
    page = open_installed(context, server[0])
    keep_lesion(page, api, "Left arm", 0.5)
    page.get_by_role("tab", name="About").click()
    expect(page.locator("#panel-about .model")).to_have_count(2)

    cached = page.evaluate(ALL_CACHED)

    assert "/ui/offline" in cached and "/ui/static/offline_page.js" in cached
    kinds = ("/ui/static/", "/ui/offline", "/ui/favicon.ico")
    assert [path for path in cached if not path.startswith(kinds)] == []


@screens("context")
@pytest.mark.parametrize("num_photos", [1, 2])
def test_a_shared_photo_does_not_pass_the_server(
    context: BrowserContext, server, api: FakeApi, num_photos: int
):
    address, _, requests = server
    page = open_installed(context, address)
    requests.clear()

    page.evaluate(SHARE, [f"{number}.jpg" for number in range(num_photos)])

    if num_photos == 1:
        expect(page.locator("#panel-lesion .answer .verdict h3")).to_be_visible()
        assert len(api.photos) == 1
        page.wait_for_url(address)
    else:
        expect(page.locator("#panel-progress .series-tiles li")).to_have_count(2)
        page.wait_for_url(f"{address}#progress")
    assert "POST /ui/share" not in requests and "GET /ui/" in requests


@screens("context")
def test_a_shared_photo_that_is_lost_is_reported(context: BrowserContext, server):
    page = open_installed(context, server[0])

    page.goto(f"{server[0]}?shared=none")

    expect(page.get_by_text("The shared photo did not arrive.")).to_be_visible()
    page.wait_for_url(server[0])
