"""All measurements one after the other, then the tables: ``python -m bench.all``, with ``--full`` the matrix.

Start it on a machine that does nothing else.
"""

import shlex
import subprocess
import sys
import time
from dataclasses import dataclass

import tyro

from bench.results import FOLDER
from bench.servers import ROOT

MAIN = {
    "bench.request_path": "--rounds 2 --seconds 2",
    "bench.lesion_http": "--rounds 2 --seconds 6 --clients 16 --sizes '224 px' '12 MP'",
    "bench.engine": "--batches 8",
    "bench.selfies": "--rounds 2",
    "bench.replicas": "--rounds 1 --seconds 6",
    "bench.overload": "",
}
"""What the main table takes, in under 30 minutes on 2 cores."""
FULL = {
    "bench.request_path": "--rounds 2 --seconds 4",
    "bench.lesion_http": "--rounds 2 --seconds 4 --clients 1 8 64 --arrivals 0.7",
    "bench.engine": "",
    "bench.selfies": "--rounds 2 --num 8",
    "bench.replicas": "--rounds 2",
    "bench.overload": "",
    "bench.kill": "",
    "bench.nodes": "",
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Measure everything that docs/performance.md compares."""

    full: bool = False
    """The whole matrix, into bench/results/full."""


def main(settings: Settings) -> None:
    """Run the measurements and write docs/performance.md; the first that fails ends it."""
    out = FOLDER / "full" if settings.full else FOLDER
    for module, options in (FULL if settings.full else MAIN).items():
        began = time.monotonic()
        # bench.engine also runs where there is no Ray, and therefore writes its own file
        target = out / "engine.json" if module == "bench.engine" else out
        command = [sys.executable, "-m", module, *shlex.split(options), "--out", str(target)]
        subprocess.run(command, cwd=ROOT, check=True)
        print(f"{module} took {time.monotonic() - began:.0f} s", flush=True)
    subprocess.run([sys.executable, "-m", "bench.report"], cwd=ROOT, check=True)


if __name__ == "__main__":
    main(tyro.cli(Settings))
