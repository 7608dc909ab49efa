"""Run axe-core on a state of the page, at several widths, light and dark."""

from collections.abc import Iterator
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

AXE = Axe()
Scheme = Literal["light", "dark"]
WIDTHS_PX = (1280, 820, 390, 320)
ALL_RULES: dict[str, Any] = {"resultTypes": ["violations"], "rules": {"target-size": {"enabled": True}}}
COLOUR_RULES: dict[str, Any] = {"resultTypes": ["violations"], "runOnly": ["color-contrast"]}
SAMPLE: tuple[tuple[int, Scheme, dict[str, Any]], ...] = (
    (320, "light", ALL_RULES),
    (1280, "dark", COLOUR_RULES),
)
"""Finds nearly all: colours are the same at each width; the other rules find the same in both schemes."""
ALL: tuple[tuple[int, Scheme, dict[str, Any]], ...] = tuple(
    (width_px, scheme, ALL_RULES) for width_px in WIDTHS_PX for scheme in ("light", "dark")
)


class AxeCheck:
    """Check states of a page and collect all findings."""

    def __init__(self, page: Page, *, is_sample: bool = False) -> None:
        self._page = page
        self._views = SAMPLE if is_sample else ALL
        self.findings: list[str] = []

    def __call__(self, state: str) -> None:
        page = self._page
        for width_px, scheme, options in self._views:
            page.set_viewport_size({"width": width_px, "height": 900})
            page.emulate_media(color_scheme=scheme)
            self.findings += [
                f"{state}, {width_px} px, {scheme}: {one}" for one in _violations(page, options)
            ]
            scrolled = page.evaluate("document.documentElement.scrollWidth")
            if scrolled > width_px:
                self.findings.append(f"{state}, {width_px} px: {scrolled} px wide")
        page.emulate_media(color_scheme="light")
        page.set_viewport_size({"width": WIDTHS_PX[0], "height": 900})


@pytest.fixture(params=["sample", pytest.param("all", marks=pytest.mark.slow)])
def check(page: Page, request: pytest.FixtureRequest) -> Iterator[AxeCheck]:
    """Return a function that checks the state of the page; the test fails at its end, with all findings."""
    checked = AxeCheck(page, is_sample=request.param == "sample")
    yield checked
    assert checked.findings == []


def _violations(page: Page, options: dict[str, Any]) -> list[str]:
    return [
        f"{rule['id']} ({rule['impact']}): {node['html'][:200]} {node['failureSummary']}"
        for rule in AXE.run(page, options=options).response["violations"]
        for node in rule["nodes"]
    ]
