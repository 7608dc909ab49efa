"""Run all measurements and write the tables: ``python -m bench.all``, ``--full`` for the other tables.

Start it on an idle machine.
"""

import shlex
import subprocess
import sys
import time
from dataclasses import dataclass

import tyro

from bench.results import FOLDER
from bench.servers import ROOT

SHORT = {
    "interleaved": "",
    "decode": "",
    "start_and_memory": "",
    "overload": "",
}
"""Options by scenario of the main table: under 30 minutes on 2 cores."""
FULL = {
    "request_path": "--rounds 2 --seconds 4",
    "lesion_http": "--rounds 2 --seconds 4 --clients 1 8 64 --open-loop-share 0.7",
    "engine": "",
    "face_and_progress": "--rounds 2 --num 8",
    "replicas": "--rounds 2",
    "replica_failures": "",
    "node_failure": "",
}
"""Of the other tables."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Run all measurements of docs/performance.md."""

    full: bool = False
    """The measurements of the other tables, into bench/results/full."""


def main(settings: Settings) -> None:
    """Run the scenarios and write docs/performance.md; stop at the first failure."""
    out = FOLDER / "full" if settings.full else FOLDER
    for scenario, options in (FULL if settings.full else SHORT).items():
        began = time.monotonic()
        # the engine scenario also runs without Ray and writes its file itself
        target = out / "engine.json" if scenario == "engine" else out
        command = [sys.executable, "-m", f"bench.scenarios.{scenario}", *shlex.split(options)]
        subprocess.run([*command, "--out", str(target)], cwd=ROOT, check=True)
        print(f"{scenario} took {time.monotonic() - began:.0f} s", flush=True)
    subprocess.run([sys.executable, "-m", "bench.report"], cwd=ROOT, check=True)


if __name__ == "__main__":
    main(tyro.cli(Settings))
