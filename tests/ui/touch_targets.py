"""Measure what a finger presses: at least 44 px wide and high, except links inside sentences (WCAG 2.5.5)."""

from playwright.sync_api import Page

MIN_PX = 44
_MEASURE = """
(least) => {
    const isInSentence = (one) => one.matches("a") && one.closest("p, li, dd") && !one.matches(".button");
    const wanted = "a[href], button, input, select, textarea, summary";
    const open = document.querySelector("dialog[open]");
    const found = new Map();
    for (const one of (open ?? document.body).querySelectorAll(wanted)) {
        const target = one.closest("label") ?? one;
        if (!target.checkVisibility({ visibilityProperty: true }) || isInSentence(one)) continue;
        const { width, height } = target.getBoundingClientRect();
        if (width && (width < least - 0.5 || height < least - 0.5)) {
            found.set(target, `${width} x ${height}: ${target.outerHTML.slice(0, 150)}`);
        }
    }
    return [...found.values()];
}
"""


def small_targets(page: Page) -> list[str]:
    """Return the visible targets that are too small; those of a dialog only while one is open."""
    return page.evaluate(_MEASURE, MIN_PX)
