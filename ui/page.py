"""The shell of the page in Gradio: places for our HTML and the tabs; no event has a Python function.

``ui/static/page.js`` puts the templates of the document (``ui/document.py``) into the places.
"""

import gradio as gr

from ui.gradio_api import Endpoints, add_endpoints
from ui.translation import translations

TABS = ("lesion", "progress", "about")


def build_page(endpoints: Endpoints, language: str = "en") -> gr.Blocks:
    """Lay out the places and the tabs, and add the endpoints for ``gradio_client``."""
    _ = translations(language).gettext
    labels = {"lesion": _("Lesion"), "progress": _("Progress"), "about": _("About")}
    with gr.Blocks(title="skinserve", analytics_enabled=False, fill_width=True) as page:
        _place("head")
        with gr.Tabs(elem_id="tabs"):
            for name in TABS:
                with gr.Tab(labels[name], elem_id=f"panel-{name}"):
                    _place(name)
        _place("foot")
        add_endpoints(endpoints)
    return page


def _place(name: str) -> None:
    """Add an empty column: ``gr.HTML`` evaluates its content as a script, which our policy forbids."""
    with gr.Column(elem_id=f"place-{name}", min_width=0):
        pass
