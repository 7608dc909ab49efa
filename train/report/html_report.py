"""Evaluation reports: ``report.json``, and ``report.html`` as one file that is readable on a phone."""

from pathlib import Path
from typing import ClassVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from models.metrics import Metric, MetricsModel
from models.storage import join, write_bytes


class ReportedModel(MetricsModel):
    """Identify the evaluated checkpoint."""

    name: str
    version: str
    weights_sha256: str
    labels: tuple[str, ...]


class Report(MetricsModel):
    """Hold the content of ``report.json``; each task extends it.

    Attributes:
        template: Jinja template of ``report.html``; it extends ``page.html.jinja`` of this folder.
        unit: noun for the evaluated examples.
    """

    template: ClassVar[Path]
    unit: ClassVar[str]

    kind: str
    n: int
    """Evaluated examples."""
    notices: tuple[str, ...] = ()
    """Printed on the command line and above the metrics."""
    model: ReportedModel | None = None
    side: str = ""
    """Of the split: val, train or all."""
    summary: str = ""

    def plots(self) -> dict[str, str]:
        """Return the report's plots by name, SVG."""
        return {}


def write_report(report: Report, address: str) -> None:
    """Write both files into a folder or under an ``s3://`` address."""
    text = report.model_dump_json(indent=1)
    write_bytes(join(address, "report.json"), f"{text}\n".encode())
    write_bytes(join(address, "report.html"), render(report).encode())


def render(report: Report) -> str:
    """Return the HTML page."""
    environment = Environment(
        loader=FileSystemLoader([report.template.parent, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "interval": interval, "percent": percent, "integer": integer}
    # the plots are drawn from numbers and fixed texts: they need no escaping
    plots = {name: Markup(svg) for name, svg in report.plots().items()}
    return environment.get_template(report.template.name).render(report=report, plots=plots)


def number(value: float | None, decimals: int = 2) -> str:
    """Return a value as text, a dash where it is not defined."""
    return "-" if value is None else f"{value:.{decimals}f}"


def interval(metric: Metric, decimals: int = 2) -> str:
    """Return an interval as text, an empty text where it is not defined."""
    if metric.low is None or metric.high is None:
        return ""
    return f"{metric.low:.{decimals}f} to {metric.high:.{decimals}f}"


def integer(value: int | None) -> str:
    """Return a number of examples as text, 0 where none is given."""
    return f"{value or 0:,}"


def percent(value: float | None) -> str:
    """Return a share as 0 to 100 for CSS, 0 where it is undefined."""
    return f"{100 * (value or 0):.1f}"
