"""The process of the page or of the API is killed in the middle of each step; nothing of a person is lost."""

import io
import re
import time
from collections.abc import Iterator
from typing import NamedTuple

import pillow_heif
import pytest
from PIL import Image
from playwright.sync_api import Browser, CDPSession, Locator, Page, expect

from tests.ui.conftest import TIMEOUT_MS
from tests.ui.killed_processes import KilledProcess, noise, serve_api, serve_page
from tests.ui.test_lesion_in_browser import file_of

pillow_heif.register_heif_opener()  # it writes HEIC

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SLOW_LINE = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 200_000}
FAST_LINE = {**SLOW_LINE, "uploadThroughput": -1}
LOST = "The server does not answer"

START = "#progress-compare:visible, [data-action=compare-order]:visible"
"""Photos without dates are compared in their order."""


class Killed(NamedTuple):
    """A page, and the two processes behind it."""

    tab: Page
    page: KilledProcess
    api: KilledProcess

    def process(self, name: str) -> KilledProcess:
        return self.page if name == "page" else self.api


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[KilledProcess, KilledProcess]]:
    folder = tmp_path_factory.mktemp("processes")
    api = KilledProcess(serve_api, folder / "api")
    page = KilledProcess(serve_page, folder / "page", api.port)
    for process in (api, page):
        process.start()
    yield page, api
    for process in (api, page):
        process.kill()


@pytest.fixture
def killed(chromium: Browser, processes: tuple[KilledProcess, KilledProcess]) -> Iterator[Killed]:
    page, api = processes
    for process in processes:
        process.held.release()
        process.start()
    context = chromium.new_context(reduced_motion="reduce", service_workers="block")
    context.set_default_timeout(2 * TIMEOUT_MS)
    expect.set_options(timeout=2 * TIMEOUT_MS)
    tab = context.new_page()
    problems: list[str] = []
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.goto(f"http://127.0.0.1:{page.port}/")
    expect(tab.locator("#panel-lesion .photo-input")).to_be_visible()
    yield Killed(tab, page, api)
    context.close()
    assert problems == []


def lesion(tab: Page) -> Locator:
    return tab.locator("#panel-lesion")


def series(tab: Page) -> Locator:
    return tab.locator("#panel-progress")


def small(number: int = 0, kind: str = "JPEG") -> bytes:
    photo = io.BytesIO()
    Image.new("RGB", (320 + number, 240), "tan").save(photo, kind)
    return photo.getvalue()


def add_lesion(tab: Page, photo: bytes, name: str = "a.jpg") -> None:
    lesion(tab).locator(".drop input").set_input_files([file_of(photo, name=name)])


def add_series(tab: Page, photos: list[bytes], name: str = "a.jpg") -> None:
    tab.get_by_role("tab", name="Progress").click()
    series(tab).locator(".drop input").set_input_files([file_of(photo, name=name) for photo in photos])
    expect(series(tab).locator(".series-tiles li")).to_have_count(len(photos))


def wait_until_held(tab: Page, process: KilledProcess) -> None:
    """Wait until a request is in the process; Playwright must go on meanwhile."""
    until = time.monotonic() + TIMEOUT_MS / 1000
    while not process.held.has_arrived():
        assert time.monotonic() < until
        tab.wait_for_timeout(50)


def throttled(tab: Page) -> CDPSession:
    line = tab.context.new_cdp_session(tab)
    line.send("Network.enable")
    line.send("Network.emulateNetworkConditions", SLOW_LINE)
    return line


def in_middle_of_upload(panel: Locator) -> None:
    bar = panel.get_by_role("progressbar")
    expect(bar).to_have_attribute("aria-valuenow", re.compile("^[1-9]"))


def try_again(panel: Locator, process: KilledProcess) -> None:
    """Expect the error, start the process and try again."""
    alert = panel.get_by_role("alert").filter(has_text=LOST)
    expect(alert).to_be_visible()
    process.start()
    alert.get_by_role("button", name="Try again").click()


def expect_lesion_answer(tab: Page) -> None:
    expect(lesion(tab).locator(".answer .verdict h3")).to_have_text("Looks benign")


def finish_series(tab: Page, num_photos: int = 2) -> None:
    keep = tab.get_by_role("button", name="Compare in this order")
    answer = series(tab).locator("#progress-answer .verdict h3")
    expect(keep.or_(answer).first).to_be_visible()
    if keep.is_visible():
        keep.click()
    expect(answer).to_have_text("Improved")
    expect(series(tab).locator(".photos li")).to_have_count(num_photos)


@pytest.mark.parametrize("name", ["page", "api"])
def test_a_process_dies_during_the_upload_of_a_lesion(killed: Killed, name: str):
    tab, process = killed.tab, killed.process(name)
    line = throttled(tab)
    add_lesion(tab, noise(900, seed=1))
    in_middle_of_upload(lesion(tab))
    process.kill()

    expect(lesion(tab).get_by_role("alert")).to_contain_text(LOST)
    line.send("Network.emulateNetworkConditions", FAST_LINE)
    try_again(lesion(tab), process)
    expect_lesion_answer(tab)


@pytest.mark.parametrize("name", ["page", "api"])
def test_a_process_dies_during_the_upload_of_a_series(killed: Killed, name: str):
    tab, process = killed.tab, killed.process(name)
    line = throttled(tab)
    add_series(tab, [noise(700, seed=seed) for seed in (1, 2)])
    tab.locator(START).click()
    in_middle_of_upload(series(tab))
    process.kill()

    expect(series(tab).get_by_role("alert")).to_contain_text(LOST)
    line.send("Network.emulateNetworkConditions", FAST_LINE)
    try_again(series(tab), process)
    finish_series(tab)


@pytest.mark.parametrize("name", ["page", "api"])
@pytest.mark.parametrize("step", ["/v1/lesion", "/render/lesion"])
def test_a_process_dies_while_it_works_on_a_lesion(killed: Killed, name: str, step: str):
    if (name, step) == ("api", "/render/lesion"):
        pytest.skip("the page renders")
    process = killed.process(name)
    process.held.hold(step)
    add_lesion(killed.tab, small())
    wait_until_held(killed.tab, process)
    process.kill()

    try_again(lesion(killed.tab), process)
    expect_lesion_answer(killed.tab)


@pytest.mark.parametrize(("name", "step"), [("page", "/v1/"), ("api", "/v1/"), ("page", "/render/progress")])
def test_a_process_dies_while_it_works_on_a_series(killed: Killed, name: str, step: str):
    tab, process = killed.tab, killed.process(name)
    add_series(tab, [small(number) for number in range(3)])
    process.held.hold(step)
    tab.locator(START).click()
    wait_until_held(tab, process)
    process.kill()

    try_again(series(tab), process)
    finish_series(tab, 3)


@pytest.mark.parametrize("name", ["page", "api"])
def test_a_process_dies_while_it_classifies_the_frame_of_the_person(killed: Killed, name: str):
    tab, process = killed.tab, killed.process(name)
    add_lesion(tab, small())
    expect_lesion_answer(tab)
    process.held.hold("/v1/lesion")
    tab.get_by_role("button", name="Frame the lesion yourself").click()
    tab.get_by_role("dialog").locator("button.primary").click()
    wait_until_held(tab, process)
    process.kill()

    try_again(lesion(tab), process)
    expect_lesion_answer(tab)
    expect(lesion(tab).get_by_text("The frame marks the area that you chose.")).to_be_visible()
    expect(lesion(tab).locator(".stage img[data-photo]")).to_be_visible()


def test_the_page_dies_while_it_draws_a_heic(killed: Killed):
    tab = killed.tab
    killed.page.held.hold("/preview")
    add_lesion(tab, small(kind="HEIF"), name="a.heic")
    expect_lesion_answer(tab)
    wait_until_held(tab, killed.page)
    killed.page.kill()

    missing = lesion(tab).locator(".photo-missing")
    expect(missing).to_contain_text("cannot be shown here, but the server has received it")
    killed.page.start()
    missing.get_by_role("button", name="Try again").click()
    expect(lesion(tab).locator(".stage img[data-photo]")).to_be_visible()
    expect(missing).to_be_hidden()
    expect(lesion(tab).get_by_role("button", name="Frame the lesion yourself")).to_be_visible()


def test_the_page_dies_while_it_draws_the_heics_of_a_series(killed: Killed):
    tab = killed.tab
    killed.page.held.hold("/preview")
    add_series(tab, [small(number, kind="HEIF") for number in range(2)], name="a.heic")
    wait_until_held(tab, killed.page)
    killed.page.kill()

    expect(series(tab).locator(".series-tiles .not-shown")).to_have_count(2)
    expect(series(tab).locator(".series-tiles .faulty")).to_have_count(0)
    killed.page.start()
    tab.locator(START).click()
    finish_series(tab)
    expect(series(tab).locator(".photos img[src^='data:']")).to_have_count(2)


@pytest.mark.parametrize(("name", "step"), [("api", "/v1/models"), ("page", "/render/models")])
def test_a_process_dies_while_about_is_opened(killed: Killed, name: str, step: str):
    tab, process = killed.tab, killed.process(name)
    process.held.hold(step)
    tab.reload()
    tab.get_by_role("tab", name="About").click()
    wait_until_held(tab, process)
    process.kill()

    try_again(tab.locator("#panel-about"), process)
    expect(tab.locator("#panel-about .model")).to_have_count(2)


def test_a_language_is_not_changed_while_the_page_is_dead(killed: Killed):
    tab = killed.tab
    add_lesion(tab, small())
    expect_lesion_answer(tab)
    tab.on("dialog", lambda dialog: dialog.accept())
    killed.page.kill()
    tab.locator("#language").select_option("de")

    expect(tab.locator("#connection")).to_contain_text("Your photos stay on this page")
    expect(tab.locator("#language")).to_have_value("en")
    expect_lesion_answer(tab)
    killed.page.start()
    expect(tab.locator("#connection")).to_be_hidden()
    tab.locator("#language").select_option("de")
    expect(tab.locator("html")).to_have_attribute("lang", "de")


def test_the_page_dies_while_it_sends_another_language(
    chromium: Browser, processes: tuple[KilledProcess, KilledProcess]
):
    process, _ = processes
    tab = chromium.new_page()
    tab.set_default_timeout(2 * TIMEOUT_MS)
    tab.goto(f"http://127.0.0.1:{process.port}/")
    while not tab.evaluate("navigator.serviceWorker.controller !== null"):
        tab.wait_for_timeout(50)
    process.held.hold("^/$")
    tab.locator("#language").select_option("de", no_wait_after=True)
    wait_until_held(tab, process)
    process.kill()

    expect(tab.get_by_role("button", name="Try again")).to_be_visible()
    process.start()
    tab.get_by_role("button", name="Try again").click()
    expect(tab.locator("html")).to_have_attribute("lang", "de")
    expect(tab.locator("#panel-lesion .photo-input")).to_be_visible()
    tab.close()
