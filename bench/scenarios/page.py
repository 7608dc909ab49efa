"""Start and weight of the page in Chromium: ``python -m bench.scenarios.page NAME=URL [NAME=URL]``.

The pages are opened in turns, each time in a new browser profile. The CPU of the page is slowed down.
"""

import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from playwright.sync_api import Browser, sync_playwright

from bench import results
from bench.results import Metrics

USABLE = "input[type=file]:not([inert] *)"
"""A photo can be chosen and the buttons answer. Old versions add the input by their script.
Since decision 0038 it is in the document, and the script removes ``inert`` after it has started."""
RECORD = f"""
new MutationObserver(() => {{
    if (!window.usableMs && document.querySelector('{USABLE}')) window.usableMs = performance.now();
}}).observe(document, {{ childList: true, subtree: true, attributeFilter: ["inert"] }});
"""
SHOWN_MS = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
IDLE_MS = 1000
"""No request for so long: the first view is complete."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Measure when something is shown, when a photo can be added, and the bytes of the first view."""

    pages: tyro.conf.Positional[tuple[str, ...]]
    """NAME=URL of each page."""
    slowdown: float = 4
    """Of the CPU."""
    rounds: int = 7
    out: Path = results.FOLDER


def main(settings: Settings) -> None:
    """Measure, and write ``page.json``."""
    load_before = results.busy_cores()
    pages = dict(page.split("=", 1) for page in settings.pages)
    rounds: list[Metrics] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for url in pages.values():
            _open(browser, url, settings.slowdown)  # fills caches of the server
        for number in range(settings.rounds):
            order = results.rotated(list(pages), number)
            rounds.append({name: _open(browser, pages[name], settings.slowdown) for name in order})
            print(rounds[-1], flush=True)
        browser.close()
    metrics = {"rounds": rounds, "summary": summary(rounds)}
    print(metrics["summary"])
    results.save("page", settings, metrics, load_before=load_before, folder=settings.out)


def summary(rounds: Sequence[Mapping[str, Metrics]]) -> Metrics:
    """Return the spread of each metric by page."""
    values: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for one in rounds:
        for name, metrics in one.items():
            for metric, value in metrics.items():
                values[name][metric].append(value)
    return {
        name: {metric: results.spread(all_) for metric, all_ in by.items()} for name, by in values.items()
    }


def _open(browser: Browser, url: str, slowdown: float) -> Metrics:
    context = browser.new_context()
    page = context.new_page()
    page.add_init_script(RECORD)
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    session.send("Emulation.setCPUThrottlingRate", {"rate": slowdown})
    sizes: list[float] = []
    session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    page.goto(url)
    page.locator(USABLE).first.wait_for(state="attached")
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(IDLE_MS)
    usable_s, shown_s = (page.evaluate(script) / 1000 for script in ("window.usableMs", SHOWN_MS))
    context.close()
    return {"shown_s": shown_s, "usable_s": usable_s, "kilobytes": sum(sizes) / 1000, "requests": len(sizes)}


if __name__ == "__main__":
    main(tyro.cli(Settings))
