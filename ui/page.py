"""The whole page: title, tabs, footer. The tabs call the API through ``Services``."""

from collections.abc import Sequence

import gradio as gr

from serve.schemas import DISCLAIMER
from ui.examples import Example
from ui.rendering import TEMPLATES, in_minutes, render
from ui.services import Services
from ui.tabs.about import build_about_tab
from ui.tabs.lesion import build_lesion_tab
from ui.tabs.progress import build_progress_tab
from ui.theme import html_block


def build_page(
    services: Services, *, lesion_examples: Sequence[Example], progress_examples: Sequence[Example]
) -> gr.Blocks:
    """Lay out the page and connect its handlers."""
    with gr.Blocks(title="skinserve", analytics_enabled=False, fill_width=True) as page:
        html_block(render("page_head", max_age=in_minutes(services.uploads.max_age_s)))
        _connection_banner()
        with gr.Tabs(elem_id="tabs"):
            with gr.Tab("Lesion"):
                build_lesion_tab(services, lesion_examples)
            with gr.Tab("Progress"):
                build_progress_tab(services, progress_examples)
            with gr.Tab("About") as about:
                build_about_tab(about, services)
        html_block(render("page_foot", disclaimer=DISCLAIMER))
    return page


def _connection_banner() -> None:
    """Add the message for a server that does not answer, at first hidden."""
    gr.HTML(
        (TEMPLATES / "connection.html").read_text(encoding="utf-8"),
        js_on_load=(TEMPLATES / "connection.js").read_text(encoding="utf-8"),
        apply_default_css=False,
        elem_id="connection",
    )
