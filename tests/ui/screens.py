"""Screens on which a page is tested: a desktop, and a phone with a touch screen."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

DESK: dict[str, Any] = {"viewport": {"width": 1280, "height": 900}}
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "has_touch": True,
    "is_mobile": True,
    "device_scale_factor": 2,
}
on_desk_and_phone = pytest.mark.parametrize(
    "screen", [pytest.param(DESK, id="desk"), pytest.param(PHONE, id="phone")]
)
UNFILLED = re.compile(r"\{\w+\}|%\(\w+\)|%%|\b(undefined|NaN|None|null)\b")
"""Placeholders of texts, and values that no person should read."""


@contextmanager
def opened(chromium: Browser, address: str, screen: dict[str, Any], timeout_ms: int) -> Iterator[Page]:
    """Open the page on a screen; an error of its scripts fails the test."""
    context = chromium.new_context(**screen, reduced_motion="reduce", service_workers="block")
    context.set_default_timeout(timeout_ms)
    expect.set_options(timeout=timeout_ms)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(address)
    expect(page.locator("#panel-lesion .photo-input")).to_be_visible()
    yield page
    context.close()
    assert problems == []


def assert_readable(page: Page) -> None:
    """Assert that nothing is wider than the screen and that no text has an unfilled placeholder."""
    scrolled, width = page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert scrolled <= width, "it scrolls sideways"
    assert not (found := UNFILLED.search(page.locator("main").inner_text())), found
