"""The shell of the page in headless Chromium: tabs, connection, sizes, no JavaScript."""

import re

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.ui.conftest import FakeApi, on_every_screen

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings(
        "ignore:'future.no_silent_downcasting' is deprecated"
    ),  # by Gradio's statistics
]


def test_tabs_have_addresses_and_back_goes_to_the_last_one(page: Page, page_url: str):
    for name in ("Progress", "History", "About"):
        page.get_by_role("tab", name=name).click()
        expect(page).to_have_url(f"{page_url}#{name.lower()}")
        expect(page).to_have_title(f"{name} · skinserve")
    for name in ("History", "Progress", "Lesion"):
        page.go_back()
        expect(page.get_by_role("tab", name=name)).to_have_attribute("aria-selected", "true")
    expect(page).to_have_url(page_url)

    page.goto(f"{page_url}#about")
    page.reload()
    expect(page.get_by_role("heading", name="About skinserve")).to_be_visible()


def test_arrow_keys_home_and_end_move_between_tabs(page: Page):
    tabs = {name: page.get_by_role("tab", name=name) for name in ("Lesion", "Progress", "History", "About")}
    tabs["Lesion"].focus()
    for key, name in (
        *(("ArrowRight", "Progress"), ("ArrowRight", "History")),
        *(("ArrowRight", "About"), ("ArrowRight", "Lesion")),
        *(("ArrowLeft", "About"), ("Home", "Lesion"), ("End", "About")),
    ):
        page.keyboard.press(key)
        expect(tabs[name]).to_be_focused()
        expect(tabs[name]).to_have_attribute("aria-selected", "true")
        assert [tab.get_attribute("tabindex") for tab in tabs.values()].count("0") == 1


@on_every_screen
def test_everything_to_press_is_44_px_high(page: Page):
    for name in ("Lesion", "Progress", "History", "About"):
        tab = page.get_by_role("tab", name=name)
        tab.click()
        panel = page.locator(f"#panel-{name.lower()}")
        expect(panel.get_by_role("heading").first).to_be_visible()
        for target in (tab, *panel.locator("button:visible, summary:visible, label.drop:visible").all()):
            box = target.bounding_box()
            assert box is not None and box["height"] >= 43.5, target.inner_text()


@pytest.mark.parametrize("page", [{"width": 320, "height": 640}], indirect=True)
def test_the_narrowest_phone_shows_all_tabs(page: Page):
    for name in ("Lesion", "Progress", "History", "About"):
        expect(page.get_by_role("tab", name=name)).to_be_in_viewport(ratio=1)


def test_about_shows_the_networks_and_tries_again(page: Page, api: FakeApi):
    page.route("**/v1/models", lambda route: route.abort())
    page.reload()
    page.get_by_role("tab", name="About").click()
    about = page.locator("#panel-about")
    retry = about.get_by_role("button", name="Try again")
    expect(retry).to_be_visible()

    page.unroute("**/v1/models")
    retry.click()

    expect(about.locator(".model")).to_have_count(2)
    expect(about.get_by_text("Of 100 malignant lesions in the validation photos, 13")).to_be_visible()
    about.get_by_text("Model card: lesion-reference").click()
    expect(about.locator(".prose strong").first).to_have_text("small")
    assert about.locator("pre").inner_text().count(page.url.partition("/ui/")[0]) == 2


def test_a_server_that_does_not_answer_is_reported_until_it_does(page: Page, page_url: str):
    page.clock.install()
    page.reload()
    banner = page.get_by_text("The connection to the server is lost.")
    expect(page.locator("#panel-lesion .photo-input")).to_be_visible()
    expect(banner).to_be_hidden()

    page.route("**/ui/alive", lambda route: route.fulfill(status=503))
    for _ in range(2):
        with page.expect_response("**/ui/alive"):
            page.clock.run_for(5000)
    expect(banner).to_be_visible()

    page.unroute("**/ui/alive")
    with page.expect_response("**/ui/alive"):
        page.clock.run_for(5000)
    expect(banner).to_be_hidden()


def test_a_drop_beside_the_inputs_does_not_open_the_photo(page: Page, page_url: str):
    prevented = page.evaluate(
        """() => {
            const options = { bubbles: true, cancelable: true, dataTransfer: new DataTransfer() };
            const event = new DragEvent('drop', options);
            document.body.dispatchEvent(event);
            return event.defaultPrevented;
        }"""
    )

    assert prevented and page.url.startswith(page_url)


def test_without_javascript_the_page_says_what_it_needs(chromium: Browser, page_url: str):
    page = chromium.new_page(java_script_enabled=False)
    page.goto(page_url)

    expect(page.get_by_text(re.compile("This page needs JavaScript"))).to_be_visible()
    expect(page.get_by_role("heading", name="Is this lesion harmful?")).to_be_visible()
    page.close()


def test_everything_is_shown_before_the_scripts_and_nothing_can_be_pressed_in_vain(
    chromium: Browser, page_url: str
):
    page = chromium.new_page()
    held: list[Route] = []
    page.route("**/static/page.js", lambda route: held.append(route))
    page.goto(page_url, wait_until="commit")

    expect(page.get_by_text("Drop or paste a photo here, or choose one")).to_be_visible()
    expect(page.locator("#panel-lesion [data-example]").first).to_be_visible()
    expect(page.locator("#page")).to_have_attribute("inert", "")
    late = page.get_by_text("This page is still loading.")
    expect(late).to_be_hidden()
    page.evaluate("document.getAnimations().forEach((animation) => { animation.currentTime = 15_000; })")
    expect(late).to_be_visible()

    held[0].continue_()
    expect(page.locator("#page")).not_to_have_attribute("inert", "")
    expect(late).to_have_count(0)
    page.close()


def test_what_the_first_view_does_not_need_is_requested_after_it(page: Page, page_url: str):
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url.removeprefix(page_url)))
    with page.expect_request("**/v1/models"), page.expect_request("**/alive"):
        page.goto(page_url)

    scripts = [url for url in sent if url.startswith("static/")]
    assert sent.index("alive") > sent.index(scripts[-1])
    page.get_by_role("tab", name="About").click()
    expect(page.locator("#panel-about .model")).to_have_count(2)
    assert sum(url.endswith("/v1/models") for url in sent) == 1, "one request for the choice and About"


def test_the_page_requests_nothing_of_gradio(page: Page, page_url: str, api: FakeApi):
    """No queue, no upload, no event, and nothing of its front end."""
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    page.goto(page_url)
    page.locator("#panel-lesion [data-example]").first.click()
    expect(page.locator("#panel-lesion .answer h3").first).to_be_visible()

    assert sent and not [url for url in sent if re.search("gradio|/assets/|/config|theme.css", url)]
