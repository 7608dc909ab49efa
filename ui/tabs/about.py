"""The About tab: purpose and limits, the loaded networks, the HTTP API, what happens to photos."""

from typing import Any

import gradio as gr

from serve.schemas import DISCLAIMER, LoadedModel
from ui.cards import exception_card
from ui.rendering import in_minutes, render
from ui.services import Services
from ui.tabs.metric_lines import measured_on, metric_lines
from ui.theme import html_block

_MAX_CARDS = 2
_QUESTIONS = {"lesion": "Is this lesion harmful?", "progress": "Is my face getting better?"}


def build_about_tab(tab: gr.Tab, services: Services) -> None:
    """Lay out the tab and connect it. Call inside ``tab``; opening it requests the loaded networks."""
    html_block(render("about", disclaimer=DISCLAIMER, max_age=in_minutes(services.uploads.max_age_s)))
    models = html_block('<p class="muted">Loading the list of networks …</p>', elem_id="about-models")
    cards: list[Any] = []
    for number in range(_MAX_CARDS):
        with gr.Accordion(
            f"Model card {number + 1}", open=False, visible=False, elem_classes="card"
        ) as accordion:
            cards += [accordion, gr.Markdown("")]
    how_to_call = html_block("", elem_id="about-api")

    async def on_open(request: gr.Request) -> list[Any]:
        api = api_section(_address(request))
        try:
            loaded = (await services.api.models()).models
        except Exception as error:
            hidden = [gr.update(visible=False), ""] * _MAX_CARDS
            return [exception_card(error), *hidden, api]
        return [models_section(loaded), *_card_updates(loaded), api]

    tab.select(
        on_open,
        None,
        [models, *cards, how_to_call],
        concurrency_limit=None,
        show_progress="hidden",
        api_visibility="private",
    )


def models_section(models: list[LoadedModel]) -> str:
    """Render the loaded networks with their metrics."""
    return render("about_models", models=[_model(model) for model in models])


def api_section(address: str) -> str:
    """Render how a program calls the API.

    Args:
        address: scheme, host and port under which the browser reached the page.
    """
    return render("about_api", address=address)


def _address(request: gr.Request) -> str:
    headers = request.headers
    scheme = "https" if headers.get("x-forwarded-proto") == "https" else "http"
    return f"{scheme}://{headers.get('host', '127.0.0.1:8000')}"


def _card_updates(models: list[LoadedModel]) -> list[Any]:
    updates: list[Any] = []
    for number in range(_MAX_CARDS):
        model = models[number] if number < len(models) else None
        label = f"Model card: {model.name}" if model else ""
        updates += [gr.update(visible=model is not None, label=label), model.model_card if model else ""]
    return updates


def _model(model: LoadedModel) -> dict[str, Any]:
    return {
        "question": _QUESTIONS[model.kind],
        "facts": [
            ("Name", f"{model.name}, version {model.version}"),
            ("Possible answers", ", ".join(model.labels)),
            ("Input", f"{model.input_px} x {model.input_px} pixels"),
            ("Training set", model.training_data),
            ("Data licence", model.data_licence),
            ("Measured on", measured_on(model)),
            ("Runs on", f"{model.engine}, {model.device}"),
            ("Weights", f"sha256 {model.sha256[:16]}…"),
        ],
        "metrics": metric_lines(model),
    }
