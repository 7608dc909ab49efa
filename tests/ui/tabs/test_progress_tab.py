import re

import pytest

from serve.schemas import MAX_SERIES_PHOTOS, MIN_SERIES_PHOTOS
from ui.rendering import TEMPLATES, render
from ui.settings import PageSettings
from ui.tabs.progress import progress_tab

STATIC = TEMPLATES.parent / "static"
SCRIPTS = (
    "progress",
    "arrange",
    "before_after",
    "series",
    "series_answer",
    "series_photos",
    "series_problem",
    "series_request",
    "series_actions",
    "series_tiles",
)
SETTINGS = PageSettings(
    api="v1/", needs_key=True, deadline_s=30, max_photo_bytes=5_000_000, max_request_bytes=90_000_000
)


def test_the_limits_of_the_scripts_are_those_of_the_settings():
    html = progress_tab(SETTINGS)

    limits = dict(re.findall(r'data-((?:min|max)-[\w-]+)="(\d+)"', html))
    assert limits == {
        "min-photos": str(MIN_SERIES_PHOTOS),
        "max-photos": str(MAX_SERIES_PHOTOS),
        "max-bytes": "5000000",
        "max-request-bytes": "90000000",
    }
    assert f"Add {MIN_SERIES_PHOTOS} to {MAX_SERIES_PHOTOS} photos" in html
    assert "up to 5\u00a0MB" in html


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_scripts_hold_no_text(script: str):
    code = (STATIC / f"{script}.js").read_text(encoding="utf-8")
    code = re.sub(r"/\*.*?\*/|//[^\n]*", "", code, flags=re.DOTALL)

    sentences = [
        text
        for text in re.findall(r"'([^'\n]*)'|`([^`]*)`", code)
        if re.search(r"[A-Z]\w+ \w", "".join(text))
    ]
    assert sentences == []


def test_every_text_and_template_of_the_scripts_exists():
    code = "".join((STATIC / f"{script}.js").read_text(encoding="utf-8") for script in SCRIPTS)
    texts = render("progress_texts", plural_samples={"one": 1, "other": 2})
    html = progress_tab(SETTINGS)

    used = set(re.findall(r"\btext\('(\w+)'", code)) | set(
        re.findall(r"'(series_\w+|tile_\w+|move_\w+)'", code)
    )
    used |= {
        f"series_{code}" for code in ("too_few", "too_many", "unreadable", "too_large", "total_too_large")
    }
    named = set(re.findall(r'data-text="(\w+)"', texts))
    assert used == named
    assert set(re.findall(r"template\('([\w-]+)'\)", code)) == set(
        re.findall(r'<template id="([\w-]+)"', html)
    )
