"""Write measurements as JSON to ``bench/results``; ``bench.report`` reads them."""

import dataclasses
import json
import platform
import statistics
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from bench.load import LoadResult
from bench.servers import ROOT
from models.lesion.processor import num_cores

FOLDER = Path(__file__).parent / "results"
Metrics = dict[str, Any]


def save(name: str, settings: Any, metrics: Metrics, *, load_before: float, folder: Path) -> None:
    """Write the results of one measurement.

    Args:
        settings: dataclass of the measurement's settings.
        metrics: all results, round by round.
        load_before: busy cores before the start; above 0.2 the machine was not idle.
        folder: ``FOLDER``, or another one for a trial.
    """
    content = {
        "measured_on": date.today().isoformat(),
        "machine": machine(),
        "load_before": round(load_before, 2),
        "settings": {key: _plain(value) for key, value in dataclasses.asdict(settings).items()},
        **metrics,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def machine() -> dict[str, Any]:
    """Return processor, memory and versions of this machine."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": num_cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "system": platform.system(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "ray")},
    }


def busy_cores() -> float:
    """Return the number of busy cores of this machine, over two seconds."""
    return psutil.cpu_percent(interval=2) / 100 * num_cores()


def summarize(result: LoadResult) -> Metrics:
    """Reduce one load to metrics.

    ``corrected_per_s`` is the rate as if the load generator had used no CPU time, so that it compares with an
    in-process loop.
    """
    capacity_s = num_cores() * result.seconds
    others = {str(code): len(times) for code, times in result.latencies_s.items() if code != 200}
    return {
        "per_s": _round(result.rate(200)),
        "corrected_per_s": _round(result.rate(200) * capacity_s / max(capacity_s - result.cpu_s, 1e-9)),
        **{f"p{round(100 * q)}_ms": _round(1000 * result.percentile(200, q)) for q in (0.5, 0.95, 0.99)},
        "responses": len(result.latencies_s.get(200, ())),
        "errors": {**others, **result.errors},
        "generator_cpu_s": _round(result.cpu_s),
        "seconds": _round(result.seconds),
    }


def successful(result: LoadResult, url: str) -> Metrics:
    """Reduce one load to metrics.

    Raises:
        RuntimeError: a response was not 200, or there was none.
    """
    metrics = summarize(result)
    if metrics["errors"] or not metrics["responses"]:
        raise RuntimeError(f"{url}: {metrics}; every response must be 200")
    return metrics


def rotated(items: Sequence[Any], number: int) -> list[Any]:
    """Return the items from another start, so that the order changes from round to round."""
    start = number % len(items)
    return [*items[start:], *items[:start]]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median, lowest and highest value over the rounds."""
    return {
        "median": _round(statistics.median(values)),
        "low": _round(min(values)),
        "high": _round(max(values)),
    }


def ratios(values: Sequence[float], references: Sequence[float]) -> dict[str, float]:
    """Return the spread of the ratios of values to references, round by round."""
    return spread([value / reference for value, reference in zip(values, references, strict=True)])


def _round(value: float) -> float:
    return float(f"{value:.4g}")


def _plain(value: Any) -> Any:
    if isinstance(value, Path):  # results contain no absolute path
        return str(value.relative_to(ROOT)) if value.is_relative_to(ROOT) else value.name
    return value
