"""The About tab: purpose and limits, the loaded networks, the HTTP API, what happens to photos."""

from html import escape
from typing import Any
from urllib.parse import urljoin

import gradio as gr

from serve.progress.schemas import VerdictThresholds
from serve.schemas import DISCLAIMER, LoadedModel
from ui.cards import exception_card
from ui.rendering import in_minutes, render
from ui.services import Services
from ui.tabs.metric_lines import measured_on, metric_lines
from ui.tabs.titles import TITLES
from ui.theme import html_block


def build_about_tab(tab: gr.Tab, services: Services) -> None:
    """Lay out the tab and connect it. Call inside ``tab``; opening it requests the loaded networks."""
    html_block(render("about", disclaimer=DISCLAIMER, max_age=in_minutes(services.uploads.max_age_s)))
    models = html_block('<p class="muted">Loading the list of networks …</p>', elem_id="about-models")
    cards = gr.Markdown("", elem_id="about-cards")
    how_to_call = html_block("", elem_id="about-api")

    async def on_open(request: gr.Request) -> list[Any]:
        api = api_section(_address(request))
        try:
            loaded = (await services.api_for(request).models()).models
        except Exception as error:
            return [exception_card(error), "", api]
        return [models_section(loaded), model_cards(loaded), api]

    tab.select(
        on_open,
        None,
        [models, cards, how_to_call],
        concurrency_limit=None,
        show_progress="hidden",
        api_visibility="private",
    )


def models_section(models: list[LoadedModel]) -> str:
    """Render the loaded networks with their metrics."""
    return render("about_models", models=[_model(model) for model in models])


def model_cards(models: list[LoadedModel]) -> str:
    """Return the model cards as one Markdown text in which each can be unfolded."""
    return "\n\n".join(
        f"<details><summary>Model card: {escape(model.name)}</summary>\n\n{model.model_card}\n\n</details>"
        for model in models
    )


def api_section(address: str) -> str:
    """Render how a program calls the API.

    Args:
        address: URL of the API, without a slash at the end.
    """
    return render("about_api", address=address)


def _address(request: gr.Request) -> str:
    """Return the URL of the API for the browser, the parent of the page's."""
    return urljoin(str(request.base_url), "..").rstrip("/")


def _model(model: LoadedModel) -> dict[str, Any]:
    return {
        "question": TITLES.get(model.kind, model.name),
        "facts": [
            ("Name", f"{model.name}, version {model.version}" + _choice(model)),
            _answers(model),
            ("Input", f"{model.input_px} x {model.input_px} pixels"),
            *_lesion_facts(model),
            ("Training set", model.training_data),
            ("Data licence", model.data_licence),
            ("Measured on", measured_on(model)),
            *([("Good for", model.description)] if model.description else []),
            ("Runs on", f"{model.engine}, {model.device}" if model.engine else "loaded on request"),
            ("Weights", f"sha256 {model.sha256[:16]}…"),
        ],
        "metrics": metric_lines(model),
    }


def _choice(model: LoadedModel) -> str:
    return "" if model.default else f", chosen by ?model={model.name}@{model.version}"


def _answers(model: LoadedModel) -> tuple[str, str]:
    if model.kind == "lesion":
        return "Diagnoses", ", ".join(model.labels)
    if model.kind != "progress":
        return "Possible answers", ", ".join(model.labels)
    thresholds = VerdictThresholds.of(model.thresholds)
    verdicts = f"improved from a probability of improvement of {thresholds.improved:.3g}"
    if thresholds.worsened is None:
        verdicts += ", worsened below it"
    else:
        worsened = f"worsened from a probability of worsening of {thresholds.worsened:.3g}"
        verdicts += f", {worsened}, no clear change in between"
    why = "if the photos show different people or only one of them shows a face"
    return "Possible answers", f"{verdicts}; inconclusive {why}"


def _lesion_facts(model: LoadedModel) -> list[tuple[str, str]]:
    if model.kind != "lesion":
        return []
    malignant = model.thresholds["malignant"]
    benign = model.thresholds.get("benign", malignant)
    verdict = f"benign below a probability of {benign:.3g}, malignant from {malignant:.3g}"
    gate = (
        "rejects photos that do not look like skin, show no lesion or are unlike the training photos"
        if model.gate
        else "none: every photo that is large and bright enough gets a verdict"
    )
    return [
        ("Verdict", verdict + (", inconclusive in between" if benign < malignant else "")),
        ("Gate", gate),
    ]
