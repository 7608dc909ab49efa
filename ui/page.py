"""The whole page: title, tabs, foot. Knows no network; the tabs ask through ``Services``."""

from collections.abc import Sequence

import gradio as gr

from serve.schemas import DISCLAIMER
from ui.example_tiles import Example
from ui.html_parts import in_minutes
from ui.services import Services
from ui.tabs.about import build_about_tab
from ui.tabs.lesion import build_lesion_tab
from ui.tabs.progress import build_progress_tab
from ui.theme import html_block

_HEAD = """
<header class="page-head">
  <svg class="brand" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
    <circle cx="16" cy="16" r="14"/><circle cx="16" cy="16" r="8.2"/>
    <circle class="core" cx="16" cy="16" r="3.2"/>
  </svg>
  <div>
    <h1>skinserve</h1>
    <p>Choose a question, then add a photo. It is deleted after the answer, at the latest after {minutes}.</p>
  </div>
  <p class="badge">Research software, not a medical device</p>
</header>
"""
_FOOT = f'<footer class="page-foot"><p>{DISCLAIMER}</p></footer>'


def build_page(
    services: Services, *, lesion_examples: Sequence[Example], progress_examples: Sequence[Example]
) -> gr.Blocks:
    """Lay out the page and connect every handler."""
    with gr.Blocks(title="skinserve", analytics_enabled=False, fill_width=True) as page:
        html_block(_HEAD.format(minutes=in_minutes(services.uploads.max_age_s)))
        with gr.Tabs(elem_id="tabs"):
            with gr.Tab("Lesion"):
                build_lesion_tab(services, lesion_examples)
            with gr.Tab("Progress"):
                build_progress_tab(services, progress_examples)
            with gr.Tab("About") as about:
                build_about_tab(about, services)
        html_block(_FOOT)
    return page
