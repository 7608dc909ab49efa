"""All style sheets are joined: a class of one part of the page must not get the style of another."""

import re
from collections.abc import Iterator

import pytest

from ui.memory_files import SCRIPTS
from ui.rendering import TEMPLATES

PARTS = {
    "lesion.css": (
        "lesion",
        "crop_",
        "camera",
        "earlier",
        "photo_hints",
        "document.html",
        "diagnosis_drawings",
    ),
    "progress.css": ("progress", "series", "arrange", "before_after", "drag_order"),
    "history.css": ("history",),
    "after_answer.css": (
        "after_answer",
        "programs",
        "feedback",
        "about_tab",
        "models",
        "macros.html",
        "keep",
    ),
}
"""Files that may use the classes of a style sheet, by the start of their names."""
SHARED = {"hint", "field"}
"""Classes that mean the same thing in several parts."""
NAMED = re.compile(r"""class="([^"]*)"|classList\.\w+\('([\w-]+)'|className: '([\w -]+)'""")


def bare_classes(sheet: str) -> set[str]:
    """Return the classes that a style sheet of one part styles wherever they occur."""
    rules = re.sub(r"/\*.*?\*/|@media[^{]*\{", "", (TEMPLATES / sheet).read_text(), flags=re.DOTALL)
    selectors = [one.strip() for rule in re.findall(r"([^{}]+)\{", rules) for one in rule.split(",")]
    found = (re.match(r"(?:\.skin )?\.([\w-]+)", selector) for selector in selectors)
    page = set(re.findall(r"\.([\w-]+)", (TEMPLATES / "page.css").read_text()))
    return {match[1] for match in found if match} - page - SHARED


def uses() -> Iterator[tuple[str, str]]:
    """Yield each class that a template or a script names, with the name of the file."""
    for file in [*TEMPLATES.glob("*.jinja"), *SCRIPTS.glob("*.js"), *TEMPLATES.parent.glob("tabs/*.py")]:
        text = file.read_text()
        values = (
            re.findall(r'"([\w-]+)"', text) if 'class="{{' in text else []
        )  # a variable can be any of them
        for names in [*NAMED.findall(text), values]:
            yield from ((name, file.name) for name in re.findall(r"[a-z][\w-]+", " ".join(names)))


@pytest.mark.parametrize("sheet", PARTS)
def test_a_class_of_one_part_is_not_used_by_another(sheet: str):
    own = bare_classes(sheet)
    assert own
    strangers = {(name, file) for name, file in uses() if name in own and not file.startswith(PARTS[sheet])}
    assert strangers == set()


def test_no_class_is_styled_by_two_parts():
    sheets = {sheet: bare_classes(sheet) for sheet in PARTS}
    twice = {
        (name, one, other)
        for one in sheets
        for other in sheets
        if one < other
        for name in sheets[one] & sheets[other]
    }
    assert twice == set()
