"""The About tab: purpose and limits for patients; networks and HTTP API for engineers."""

from collections.abc import Sequence
from typing import Any

from babel.numbers import format_decimal
from markdown_it import MarkdownIt

from serve.progress.schemas import VerdictThresholds
from serve.schemas import DISCLAIMER, LoadedModel
from ui.rendering import render
from ui.tabs.metric_lines import measured_on, metric_lines
from ui.tabs.verdict_errors import verdict_errors
from ui.translation import N_, translations

_TITLES = {"lesion": N_("Is this lesion harmful?"), "progress": N_("Is my face getting better?")}
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")
"""Model cards come with the checkpoints: HTML in them is shown as text."""
_CARD_LEVEL = 4
"""Of the first heading of a model card on the page."""


def about_tab(language: str) -> str:
    """Render the tab; opening it requests the loaded networks, see ``ui/static/about.js``."""
    return render("about_tab", language, disclaimer=DISCLAIMER)


def about_models(models: Sequence[LoadedModel], language: str) -> str:
    """Render the loaded networks with their metrics and model cards."""
    errors = [verdict_errors(model) for model in models if model.default]
    return render(
        "about_models",
        language,
        models=[_model(model, language) for model in models],
        error_rates=[found.of_malignant(language) for found in errors if found],
    )


def _model(model: LoadedModel, language: str) -> dict[str, Any]:
    _ = translations(language).gettext
    version = _("%(name)s, version %(version)s") % {"name": model.name, "version": model.version}
    return {
        "title": _TITLES.get(model.kind, model.name),
        "name": model.name,
        "card": _card_html(model.model_card),
        "facts": [
            (_("Name"), version + _choice(model, language)),
            _answers(model, language),
            (_("Input"), _("%(n)s x %(n)s pixels") % {"n": model.input_px}),
            *_lesion_facts(model, language),
            (_("Runs on"), f"{model.engine}, {model.device}" if model.engine else _("loaded on request")),
            (_("Weights"), f"sha256 {model.sha256[:16]}…"),
        ],
        "english_facts": [  # texts of the checkpoint
            (_("Training set"), model.training_data),
            (_("Measured on"), measured_on(model)),
            (_("Data licence"), model.data_licence),
            *([(_("Good for"), model.description)] if model.description else []),
        ],
        "metrics": metric_lines(model, language),
    }


def _card_html(card: str) -> str:
    tokens = _MARKDOWN.parse(card)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(int(token.tag[1:]) + _CARD_LEVEL - 1, 6)}"
    return _MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {})


def _choice(model: LoadedModel, language: str) -> str:
    if model.default:
        return ""
    chosen = translations(language).gettext(", chosen by %(parameter)s")
    return chosen % {"parameter": f"?model={model.name}@{model.version}"}


def _answers(model: LoadedModel, language: str) -> tuple[str, str]:
    _ = translations(language).gettext
    labels = ", ".join(map(_, model.labels))
    if model.kind == "lesion":
        return _("Diagnoses"), labels
    if model.kind != "progress":
        return _("Possible answers"), labels
    thresholds = VerdictThresholds.of(model.thresholds)
    values = {"improved": _short(thresholds.improved, language)}
    if thresholds.worsened is None:
        text = _("improved from a probability of improvement of %(improved)s, worsened below it")
    else:
        values["worsened"] = _short(thresholds.worsened, language)
        text = _(
            "improved from a probability of improvement of %(improved)s, worsened from a probability of "
            "worsening of %(worsened)s, no clear change in between"
        )
    why = _("inconclusive if the photos show different people or only one of them shows a face")
    return _("Possible answers"), f"{text % values}; {why}"


def _lesion_facts(model: LoadedModel, language: str) -> list[tuple[str, str]]:
    if model.kind != "lesion":
        return []
    _ = translations(language).gettext
    malignant = model.thresholds["malignant"]
    benign = model.thresholds.get("benign", malignant)
    verdict = (
        _("benign below a probability of %(benign)s, malignant from %(malignant)s, inconclusive in between")
        if benign < malignant
        else _("benign below a probability of %(benign)s, malignant from %(malignant)s")
    )
    gate = (
        _("rejects photos that do not look like skin, show no lesion or are unlike the training photos")
        if model.gate
        else _("none: every photo that is large and bright enough gets a verdict")
    )
    limits = {"benign": _short(benign, language), "malignant": _short(malignant, language)}
    return [(_("Verdict"), verdict % limits), (_("Gate"), gate)]


def _short(value: float, language: str) -> str:
    """Format a threshold with three significant digits."""
    return format_decimal(value, "@##", locale=language)
