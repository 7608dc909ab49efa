"""The History tab: answers that the person keeps in the browser; the server has none of them."""

from ui.rendering import render


def history_tab(language: str) -> str:
    """Render the tab in a language."""
    return render("history_tab", language)
