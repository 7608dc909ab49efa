"""The About tab: purpose and limits for patients; networks and HTTP API for engineers."""

from collections.abc import Sequence
from typing import Any

from markdown_it import MarkdownIt

from serve.progress.schemas import VerdictThresholds
from serve.schemas import DISCLAIMER, LoadedModel
from ui.rendering import render
from ui.tabs.metric_lines import measured_on, metric_lines
from ui.tabs.verdict_errors import verdict_errors
from ui.translation import N_

_TITLES = {"lesion": N_("Is this lesion harmful?"), "progress": N_("Is my face getting better?")}
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")
"""Model cards come with the checkpoints: HTML in them is shown as text."""


def about_tab(language: str) -> str:
    """Render the tab; opening it requests the loaded networks, see ``ui/static/about.js``."""
    return render("about_tab", language, disclaimer=DISCLAIMER)


def about_models(models: Sequence[LoadedModel], language: str) -> str:
    """Render the loaded networks with their metrics and model cards."""
    errors = [verdict_errors(model) for model in models if model.default]
    return render(
        "about_models",
        language,
        models=[_model(model) for model in models],
        error_rates=[found.of_malignant(language) for found in errors if found],
    )


def _model(model: LoadedModel) -> dict[str, Any]:
    return {
        "title": _TITLES.get(model.kind, model.name),
        "name": model.name,
        "card": _MARKDOWN.render(model.model_card),
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
