"""The shell of the page in Gradio: places for our HTML and the tabs. Events have no Python function.

``ui/static/page.js`` puts the templates of the document (``ui/document.py``) into the places.
"""

import gradio as gr

from ui.gradio_api import Endpoints, add_endpoints
from ui.translation import DEFAULT_LANGUAGE, translations

TABS = ("lesion", "progress", "history", "about")


def build_page(endpoints: Endpoints) -> gr.Blocks:
    """Lay out the places and the tabs, in English, and add the endpoints for ``gradio_client``."""
    labels = tab_labels(DEFAULT_LANGUAGE)
    with gr.Blocks(title="skinserve", analytics_enabled=False, fill_width=True) as page:
        _place("head")
        with gr.Tabs(elem_id="tabs", overflow_behavior="wrap"):
            for name in TABS:
                with gr.Tab(labels[name], elem_id=f"panel-{name}"):
                    _place(name)
        _place("foot")
        add_endpoints(endpoints)
    return page


def tab_labels(language: str) -> dict[str, str]:
    """Return the name of each tab in a language."""
    _ = translations(language).gettext
    return {"lesion": _("Lesion"), "progress": _("Progress"), "history": _("History"), "about": _("About")}


def _place(name: str) -> None:
    """Add an empty column: ``gr.HTML`` evaluates its content as a script, which our policy forbids."""
    with gr.Column(elem_id=f"place-{name}", min_width=0):
        pass
