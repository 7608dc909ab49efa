"""The tabs of the page."""

from ui.translation import translations

TABS = ("lesion", "progress", "history", "about")


def tab_labels(language: str) -> dict[str, str]:
    """Return the name of each tab in a language."""
    _ = translations(language).gettext
    return {"lesion": _("Lesion"), "progress": _("Progress"), "history": _("History"), "about": _("About")}
