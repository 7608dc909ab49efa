"""What was measured, as JSON in ``bench/results``; the measurements write it, ``bench.report`` reads it."""

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

from bench.load import Outcome
from bench.servers import ROOT, num_cores

FOLDER = Path(__file__).parent / "results"


def save(name: str, settings: Any, figures: dict[str, Any], *, load_before: float, folder: Path) -> None:
    """Write one measurement.

    Args:
        settings: the dataclass it ran with.
        figures: what came out, rounds and all.
        load_before: cores that were busy when it began; the machine was not at rest above 0.2.
        folder: ``FOLDER``, or another place for a trial.
    """
    found = {
        "measured_on": date.today().isoformat(),
        "machine": machine(),
        "load_before": round(load_before, 2),
        "settings": {key: _plain(value) for key, value in dataclasses.asdict(settings).items()},
        **figures,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def machine() -> dict[str, Any]:
    """Say what a measurement ran on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in _lines(Path("/proc/cpuinfo"))
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "cpu": model,
        "cores": num_cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "system": platform.system(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "ray")},
    }


def load_now() -> float:
    """Return the cores that are busy now, over two seconds."""
    return psutil.cpu_percent(interval=2) / 100 * num_cores()


def of_outcome(outcome: Outcome) -> dict[str, Any]:
    """Reduce one load to figures.

    ``fair_per_s`` is the rate with the load generator's own CPU time given back to the server, so that it
    compares with a loop that no generator feeds.
    """
    capacity_s = num_cores() * outcome.seconds
    others = {str(code): len(times) for code, times in outcome.latencies_s.items() if code != 200}
    return {
        "per_s": _round(outcome.rate(200)),
        "fair_per_s": _round(outcome.rate(200) * capacity_s / max(capacity_s - outcome.cpu_s, 1e-9)),
        **{f"p{round(100 * q)}_ms": _round(1000 * outcome.p(200, q)) for q in (0.5, 0.95, 0.99)},
        "answers": len(outcome.latencies_s.get(200, ())),
        "errors": {**others, **outcome.errors},
        "generator_cpu_s": _round(outcome.cpu_s),
        "seconds": _round(outcome.seconds),
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median, lowest and highest of one figure over the rounds."""
    return {
        "median": _round(statistics.median(values)),
        "low": _round(min(values)),
        "high": _round(max(values)),
    }


def _round(value: float) -> float:
    return float(f"{value:.4g}")


def _plain(value: Any) -> Any:
    if isinstance(value, Path):  # no path of this machine goes into a result
        return str(value.relative_to(ROOT)) if value.is_relative_to(ROOT) else value.name
    return value


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.is_file() else []
