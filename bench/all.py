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
    "bench.scenarios.request_path": "--rounds 2 --seconds 2",
    "bench.scenarios.lesion_http": "--rounds 2 --seconds 6 --clients 16 --sizes '224 px' '12 MP'",
    "bench.scenarios.engine": "--batches 8",
    "bench.scenarios.face_and_progress": "--rounds 2",
    "bench.scenarios.replicas": "--rounds 1 --seconds 6",
    "bench.scenarios.overload": "",
}
"""What the main table takes, in under 30 minutes on 2 cores."""
FULL = {
    "bench.scenarios.request_path": "--rounds 2 --seconds 4",
    "bench.scenarios.lesion_http": "--rounds 2 --seconds 4 --clients 1 8 64 --arrivals 0.7",
    "bench.scenarios.engine": "",
    "bench.scenarios.face_and_progress": "--rounds 2 --num 8",
    "bench.scenarios.replicas": "--rounds 2",
    "bench.scenarios.overload": "",
    "bench.scenarios.replica_failures": "",
    "bench.scenarios.node_failure": "",
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
        # bench.scenarios.engine also runs where there is no Ray, and therefore writes its own file
        target = out / "engine.json" if module == "bench.scenarios.engine" else out
        command = [sys.executable, "-m", module, *shlex.split(options), "--out", str(target)]
        subprocess.run(command, cwd=ROOT, check=True)
        print(f"{module} took {time.monotonic() - began:.0f} s", flush=True)
    subprocess.run([sys.executable, "-m", "bench.report"], cwd=ROOT, check=True)


if __name__ == "__main__":
    main(tyro.cli(Settings))
