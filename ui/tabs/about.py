"""The About tab: what this is and is not, which networks answer, how programs ask, what happens to photos."""

from collections.abc import Mapping
from html import escape
from typing import Any

import gradio as gr

from serve.schemas import DISCLAIMER, LoadedModel
from ui.error_card import trouble_card
from ui.html_parts import in_minutes
from ui.services import Services
from ui.theme import html_block

_IS_AND_IS_NOT = """
<div class="lead"><h2>About skinserve</h2><p>{disclaimer}</p></div>
<div class="about-columns">
<section class="card"><h3>What it is</h3>
<p>Two neural networks that answer two questions from photos. One tells harmless spots from harmful ones and
names the most likely diagnosis. The other compares photos of one face over time.</p>
<p>It is meant for research: to try such networks, to measure them and to build on them.</p></section>
<section class="card"><h3>What it is not</h3>
<p>Not a medical device, not tested on patients, and no reason to see a doctor later or not at all.</p>
<p>The networks learned from few photos, mostly of light skin. The lesion network knows only the diagnoses
listed below: anything else is forced into one of these. The model cards say more.</p></section>
<section class="card"><h3>Your photos</h3>
<p>A photo lies on the server's disk, in a folder that only the server can read, and is deleted after its
answer. One without an answer (taken out again, part of a series that was refused, never asked about) is
deleted at the latest {minutes} after its upload.</p>
<p>Nothing about a photo is logged: not its name, not where or when it was taken. This page loads nothing from
anywhere else, and no figures about its use leave this server.</p></section>
</div>
"""
_MODELS_WAIT = '<p class="muted">Asking which networks answer …</p>'
_MAX_CARDS = 2


def build_about_tab(tab: gr.Tab, services: Services) -> None:
    """Lay out the tab and connect it. Call inside ``tab``; opening it asks which networks are loaded."""
    minutes = in_minutes(services.uploads.max_age_s)
    html_block(_IS_AND_IS_NOT.format(disclaimer=DISCLAIMER, minutes=minutes))
    models = html_block(_MODELS_WAIT, elem_id="about-models")
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
            return [trouble_card(error), *hidden, api]
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
    """The loaded networks with their figures."""
    cards = "".join(_model(model) for model in models)
    return (
        f'<h3 class="section">The networks that answer here</h3><div class="about-columns two">{cards}</div>'
    )


def api_section(address: str) -> str:
    """How a program asks the same questions.

    Args:
        address: scheme, host and port under which the browser reached the page.
    """
    at = escape(address)
    lesion = f"curl -F file=@spot.jpg {at}/v1/lesion"
    progress = f"curl -F files=@day1.jpg -F files=@day9.jpg {at}/v1/progress"
    docs = '<a href="/docs" target="_blank" rel="noopener">All routes, with their schemas and examples</a>'
    return (
        '<section class="card"><h3>For programs</h3><p>Everything on this page is an HTTP API.</p>'
        f"<pre><code>{lesion}\n{progress}</code></pre><p>{docs}</p></section>"
    )


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


def _model(model: LoadedModel) -> str:
    question = {"lesion": "Is this spot harmful?", "progress": "Is my face getting better?"}[model.kind]
    rows = [
        ("Name", f"{model.name}, version {model.version}"),
        ("Answers with", ", ".join(model.labels)),
        ("Sees", f"{model.input_px} x {model.input_px} pixels"),
        ("Learned from", model.training_data),
        ("Licence of the data", model.data_licence),
        ("Runs on", f"{model.engine}, {model.device}"),
        ("Weights", f"sha256 {model.sha256[:16]}…"),
    ]
    figures = (
        f"<h5>Figures; in brackets their 95% intervals</h5>{_facts(_flat(model.metrics))}"
        if model.metrics
        else ""
    )
    return f'<section class="card model"><h4>{question}</h4>{_facts(rows)}{figures}</section>'


def _facts(rows: list[tuple[str, str]]) -> str:
    return (
        "<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in rows) + "</dl>"
    )


_IN_THE_CARD = (
    "by_person",
    "calibration",
    "ece_if_calibrated",
    "ece_of_predicted_side",
    "judges",
    "largest_difference_from_training",
    "num_groups",
    "num_diagnoses",
    "num_without_verdict",
    "steady",
    "threshold_at_95_sensitivity",
)
"""Figures that need the explanation that the model card, below them on the page, gives."""


def _flat(metrics: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested figures as rows of a table: ``{"risk": {"n": 3}}`` becomes ``("Risk: n", "3")``."""
    rows: list[tuple[str, str]] = []
    for key, value in metrics.items():
        if key.endswith(_IN_THE_CARD):
            continue
        words = key.replace("_", " ").replace("auroc", "AUROC").replace("ece", "calibration error")
        name = f"{prefix}{words}" if prefix or len(words) == 1 else f"{words[0].upper()}{words[1:]}"
        if isinstance(value, Mapping) and "value" not in value:
            rows += _flat(value, f"{name}: " if not prefix else f"{name} of ")
        else:
            rows.append((name, _figure(value)))
    return rows


def _figure(value: Any) -> str:
    """A figure, with its interval and its count where it has them."""
    if value is None:
        return "not defined"
    if isinstance(value, Mapping):
        text = _figure(value["value"])
        if "low" in value and "high" in value:
            text += f" ({_figure(value['low'])} to {_figure(value['high'])})"
        return f"{text}, n = {value['n']}" if "n" in value else text
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list | tuple):
        return ", ".join(_figure(item) for item in value)
    return str(value)
