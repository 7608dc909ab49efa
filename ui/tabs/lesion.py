"""The Lesion tab: classify one photo of a lesion; ``ui/static/lesion.js`` runs it."""

from serve.schemas import DISCLAIMER
from ui.rendering import render
from ui.settings import PageSettings


def lesion_tab(settings: PageSettings, language: str) -> str:
    """Render the tab before a photo is added."""
    return render("lesion_tab", language, settings=settings, disclaimer=DISCLAIMER)
