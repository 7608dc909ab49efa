"""A server that restarts between any two steps, two tabs at once, hostile names of files."""

import socket
from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI
from playwright.sync_api import Browser, Locator, Page, Route, expect

import ui.site
from tests.ui.conftest import FakeApi, lesion_answer, patch_examples, served
from tests.ui.series_pages import add as add_series
from tests.ui.series_pages import answered, compare, photo
from tests.ui.test_lesion_in_browser import add, file_of, jpeg, problem, verdict
from ui.client import ApiClient
from ui.config import UiConfig

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings(
        "ignore:'future.no_silent_downcasting' is deprecated"
    ),  # by Gradio's statistics
]

HOSTILE = "<img src=x onerror=alert(1)>\u202egpj.txt"
"""HTML, and a character that turns the direction of the rest of the line."""


class RestartedServer:
    """The API and the page on one address; each start is a new application without memory of the last one."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._running = self._serve()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/ui/"

    def start(self) -> None:
        self._running.__enter__()

    def stop(self) -> None:
        self._running.__exit__(None, None, None)
        self._running = self._serve()

    def _serve(self):
        api = FakeApi()
        site: FastAPI = api.app()
        client = ApiClient("http://api", transport=httpx.ASGITransport(api.app()))
        site.mount("/ui", ui.site.build_site(UiConfig(), client))
        return served(site, port=self._port)


@pytest.fixture
def server() -> Iterator[RestartedServer]:
    with pytest.MonkeyPatch.context() as patch:
        patch_examples(patch)
        server = RestartedServer()
        server.start()
        yield server
        server.stop()


def retry_after_restart(page: Page, server: RestartedServer, panel: Locator) -> None:
    """Expect the card of a lost connection; start the server and try again."""
    card = panel.get_by_role("alert").filter(has_text="No connection to the server")
    expect(card).to_contain_text("Your photos are still here.")
    server.start()
    card.get_by_role("button", name="Try again").click()


def test_a_restart_before_each_step_of_a_lesion_loses_nothing(chromium: Browser, server: RestartedServer):
    page = chromium.new_page()
    page.goto(server.url)
    panel = page.locator("#panel-lesion")
    expect(panel.locator(".photo-input")).to_be_visible()

    server.stop()
    add(page)
    retry_after_restart(page, server, panel)
    expect(verdict(page)).to_be_visible()

    server.stop()
    page.get_by_role("button", name="Check another photo").first.click()
    panel.locator("[data-example]").first.click()
    retry_after_restart(page, server, panel)
    expect(verdict(page)).to_be_visible()
    page.close()


@pytest.mark.slow
def test_a_restart_before_each_step_of_a_series_loses_nothing(chromium: Browser, server: RestartedServer):
    page = chromium.new_page()
    page.goto(server.url)
    page.get_by_role("tab", name="Progress").click()
    panel = page.locator("#panel-progress")
    expect(panel.locator("#progress-compare")).to_be_visible()

    server.stop()
    add_series(page, [photo(0), photo(1)])
    compare(page)
    retry_after_restart(page, server, panel)
    expect(panel.get_by_role("heading", name="When were these photos taken?")).to_be_focused()

    server.stop()
    for number, day in ((1, "2026-03-01"), (2, "2026-04-10")):
        panel.get_by_label(f"Date of photo {number}", exact=True).fill(day)
    page.get_by_role("button", name="Compare by these dates").click()
    retry_after_restart(page, server, panel)
    expect(answered(page).locator(".photos li")).to_have_count(2)
    page.close()


@pytest.mark.parametrize("step", ["**/v1/lesion*", "**/render/lesion*"])
def test_a_connection_that_breaks_in_a_step_is_tried_again(page: Page, step: str):
    page.route(step, lambda route: route.abort("connectionreset"))
    add(page)
    retry = page.locator("#panel-lesion").get_by_role("button", name="Try again")
    expect(retry).to_be_visible()

    page.unroute(step)
    retry.click()
    expect(verdict(page)).to_be_visible()


def test_two_tabs_at_once_have_their_own_photos_and_answers(page: Page, page_url: str, api: FakeApi):
    held: list[Route] = []
    page.route("**/v1/lesion*", lambda route: held.append(route))
    add(page)
    expect(page.get_by_role("heading", name="Classifying the photo")).to_be_visible()

    other = page.context.new_page()
    other.goto(page_url)
    expect(other.locator("#panel-lesion .photo-input")).to_be_visible()
    api.lesion = lesion_answer(malignant=0.8)
    add(other)
    expect(verdict(other)).to_have_text("Have it checked")
    other.close()

    api.lesion = lesion_answer()
    held[0].continue_()
    expect(verdict(page)).to_have_text("Looks benign")


def test_names_of_files_are_texts_and_turn_no_sentence_round(page: Page, api: FakeApi):
    add(page, b"", name=HOSTILE)
    message = problem(page).inner_text()
    assert "\u202e" not in message and "<img src=x onerror=alert(1)>gpj.txt" in message

    add(page, jpeg(), name=HOSTILE)
    expect(verdict(page)).to_be_visible()
    page.get_by_role("tab", name="Progress").click()
    expect(page.locator("#progress-compare")).to_be_visible()
    add_series(page, [file_of(photo(number)["buffer"], name=HOSTILE) for number in range(3)])
    compare(page)
    page.get_by_role("checkbox", name="Leave out photo 2").check()
    name = page.locator(".arrange-list .left-out b").inner_text()
    assert name == "<img src=x onerror=alert(1)>gpj.txt"
    assert page.locator("img[src=x]").count() == 0


def test_an_arabic_name_keeps_its_place_in_the_sentence(page: Page):
    add(page, b"", name="صورة 3.jpg")

    expect(problem(page)).to_contain_text("\u2068صورة 3.jpg\u2069")
