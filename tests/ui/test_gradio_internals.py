from importlib.metadata import version

import gradio as gr
import pytest

from ui import gradio_internals
from ui.gradio_internals import QUEUE_PAUSE_S, lengthen_queue_pauses


def test_the_documented_version_is_the_installed_one():
    installed = ".".join(version("gradio").split(".")[:2])

    assert f"tried with Gradio {installed}." in str(gradio_internals.__doc__)


@pytest.mark.parametrize("name", ["sleep_when_free", "progress_update_sleep_when_free"])
def test_the_queue_has_the_pauses_that_the_page_lengthens(name: str):
    page = gr.Blocks()
    assert 0 < getattr(page._queue, name) < QUEUE_PAUSE_S

    lengthen_queue_pauses(page)

    assert getattr(page._queue, name) == QUEUE_PAUSE_S


def test_the_queue_has_the_sessions_that_the_page_looks_up():
    assert gr.Blocks()._queue.pending_messages_per_session == {}
