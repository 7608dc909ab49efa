"""An evaluation as ``report.json``, and as ``report.html``: one file, readable on a phone."""

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from models.storage import join, write_bytes
from train.metrics import WANTED_SENSITIVITY
from train.report.plots import reliability_plot, roc_plot

TEMPLATE = "report.html.jinja"


def write_report(content: dict[str, Any], address: str) -> None:
    """Write both files into a folder or under an ``s3://`` address."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    write_bytes(join(address, "report.json"), f"{text}\n".encode())
    write_bytes(join(address, "report.html"), render(content).encode())


def render(content: dict[str, Any]) -> str:
    """Return the page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "interval": interval, "percent": percent}
    plots = _lesion_plots(content) if content["kind"] == "lesion" else {}
    return environment.get_template(TEMPLATE).render(report=content, plots=plots)


def number(value: float | None, decimals: int = 2) -> str:
    """Return a figure as text, a dash where it is not defined."""
    return "-" if value is None else f"{value:.{decimals}f}"


def interval(figure: dict[str, Any], decimals: int = 2) -> str:
    """Return an interval as text, nothing where it is not defined."""
    if figure["value"] is None:
        return ""
    return f"{figure['low']:.{decimals}f} to {figure['high']:.{decimals}f}"


def percent(value: float | None) -> str:
    """Return a share as a number from 0 to 100 for a style sheet, 0 where it is not defined."""
    return f"{100 * (value or 0):.1f}"


def _lesion_plots(content: dict[str, Any]) -> dict[str, Markup]:
    risk, roc = content["metrics"]["risk"], content["roc"]
    plots = {
        "diagnosis": reliability_plot(
            content["reliability"]["diagnosis"],
            said="probability of the diagnosis that is named",
            happened="share of photos where it was right",
        ),
        "risk": reliability_plot(
            content["reliability"]["risk"],
            said="probability of malignancy",
            happened="share of photos that were malignant",
        ),
    }
    if roc:
        points = [
            (
                f"threshold {content['threshold']:.3g}, as released",
                1 - risk["specificity"]["value"],
                risk["sensitivity"]["value"],
            ),
            (
                f"threshold {risk['threshold_at_95_sensitivity']['value']:.3g}, for 95% sensitivity",
                1 - risk["specificity_at_95_sensitivity"]["value"],
                WANTED_SENSITIVITY,
            ),
        ]
        plots["roc"] = roc_plot(roc, points)
    # drawn by our own code from numbers: nothing in it needs escaping
    return {name: Markup(svg) for name, svg in plots.items()}
