"""Check the GPU code on a real GPU in under 10 minutes: ``python -m bench.gpu.checklist --out gpu.json``.

Each item runs in a process of its own with a time limit and prints one line of JSON. ``--out`` holds the
results of all items so far. The exit code is 1 if an item failed.

``--device cpu --small`` is a rehearsal without a GPU: items that need CUDA are skipped, and sizes are small.

All items need PyTorch, torchvision, numpy, pillow, psutil, pydantic, pyyaml, httpx, safetensors and tqdm.
``training`` and ``resume`` need filelock, pyarrow, scikit-learn and tensorboard too. ``serving``,
``training_run`` and ``scoring`` need all packages of the lock file, with Ray.
"""

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from bench.child_processes import one_line, start
from bench.gpu import inference, memory, training, under_ray
from bench.gpu.setup import ROOT, SMALL, Result, Setup, SkippedError, read_setup
from train.placement import LOWEST_DRIVER, visible_gpus


@dataclass(frozen=True)
class Item:
    """One check."""

    run: Callable[[Setup], Iterator[Result]]
    limit_s: float
    needs_cuda: bool = False


END_S = 30.0
"""For an item over its time to stop a server or a training."""
ITEMS = {
    "environment": Item(inference.environment, 30),
    "replay": Item(inference.replay, 60, needs_cuda=True),
    "bf16": Item(inference.bf16, 60),
    "memory": Item(memory.memory, 45, needs_cuda=True),
    "training": Item(training.training, 90),
    "resume": Item(training.resume, 90),
    "sharing": Item(memory.sharing, 90),
    "progress": Item(inference.progress, 45),
    "ddp": Item(training.ddp, 60),
    "second_gpu": Item(inference.second_gpu, 30, needs_cuda=True),
    "serving": Item(under_ray.serving, 240),
    "training_run": Item(under_ray.training_run, 300),
    "scoring": Item(under_ray.scoring, 240),
    "compile": Item(inference.compiled, 1800, needs_cuda=True),
}
"""In the order of execution."""


def main() -> None:
    """Run the items that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("items", nargs="*", help=f"default: all of {', '.join(ITEMS)}")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="small sizes, for a rehearsal")
    parser.add_argument("--limit-s", type=float, default=570, help="for all items together")
    parser.add_argument("--out", type=Path, help="file for the results")
    options = parser.parse_args()
    unknown = set(options.items) - ITEMS.keys()
    if unknown:
        parser.error(f"unknown item {', '.join(sorted(unknown))}; the items are {', '.join(ITEMS)}")
    if problem := _option_error(options):
        parser.error(problem)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the processes of the item end too
    setup = read_setup(options.device)
    setup = replace(setup, **SMALL) if options.small else setup
    deadline = time.monotonic() + options.limit_s
    results: dict[str, Result] = {"conditions": _conditions(setup)}
    print(json.dumps(results["conditions"]), flush=True)
    for name in dict.fromkeys(options.items or ITEMS):
        if ITEMS[name].needs_cuda and not setup.on_gpu:
            results[name] = {"status": "skipped: needs CUDA"}
        else:
            left_s = deadline - time.monotonic()
            limit_s = left_s if options.small else min(ITEMS[name].limit_s, left_s)
            results[name] = (
                run_in_child(name, setup, limit_s)
                if left_s > 0
                else {"status": f"skipped: no time left of --limit-s {options.limit_s:g}; run it alone"}
            )
        print(json.dumps({"item": name, **results[name]}), flush=True)
        if options.out:
            options.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    sys.exit(any(result.get("status") == "failed" for result in results.values()))


def _option_error(options: argparse.Namespace) -> str | None:
    """Return an error message for invalid options, or None."""
    device = re.fullmatch(r"cpu|cuda(:(\d+))?", options.device)
    if device is None:
        return f"--device is {options.device}, must be cpu, cuda or cuda:N"
    if options.limit_s <= 0:
        return f"--limit-s is {options.limit_s:g}, must be above 0"
    if options.out and not options.out.absolute().parent.is_dir():
        return f"--out is {options.out}, and its folder does not exist; create it first"
    if options.device == "cpu":
        return None
    num_visible, reason = visible_gpus()
    if not num_visible:
        return (
            f"PyTorch {torch.__version__} sees no CUDA device ({reason}); install the NVIDIA driver "
            f"{LOWEST_DRIVER} or newer and a CUDA build of PyTorch, or use --device cpu --small"
        )
    if int(device[2] or 0) >= num_visible:
        return f"--device is {options.device}, and PyTorch sees {num_visible} CUDA device(s), from cuda:0 on"
    return None


def _conditions(setup: Setup) -> Result:
    """Return settings, number of threads, date and commit."""
    git = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return {
        "settings": asdict(setup),
        "num_threads": torch.get_num_threads(),
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "commit": git.stdout.strip() or "unknown",
    }


def run_in_child(name: str, setup: Setup, limit_s: float) -> Result:
    """Run an item in a child process; end it and its process group after ``limit_s``."""
    started = time.monotonic()
    result: Result = (
        {"status": "failed", "error": f"stopped after {limit_s:.0f} s; run this item alone"}
        if limit_s >= ITEMS[name].limit_s
        else {"status": f"skipped: stopped after {limit_s:.0f} s, the rest of --limit-s; run it alone"}
    )
    process, pipe = start(_item_process, name, setup, daemon=False)
    try:
        while pipe.poll(max(0, started + limit_s - time.monotonic())):
            result |= pipe.recv()
    except (EOFError, ConnectionResetError):  # the process has ended
        process.join(10)
        if process.exitcode and result["status"] != "passed":
            error = f"the process ended with exit code {process.exitcode}"
            result |= {"status": "failed", "error": error}
    finally:
        process.terminate()
        process.join(END_S)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid or 0, signal.SIGKILL)
        process.kill()
    if result["status"] != "failed":
        result.pop("error", None)
    return result | {"seconds": round(time.monotonic() - started, 1)}


def _item_process(pipe: Connection, name: str, setup: Setup) -> None:
    os.setsid()  # a process group of its own
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # ends what the item has started
    os.dup2(2, 1)  # stdout is for results only
    if not setup.on_gpu:
        torch.set_num_threads(1)
    run_in_process(name, setup, pipe.send)


def run_in_process(name: str, setup: Setup, report: Callable[[Result], None]) -> None:
    """Run an item in this process; report its results one by one, then its status."""
    try:
        for result in ITEMS[name].run(setup):
            report(result)
        report({"status": "passed"})
    except SkippedError as error:
        report({"status": f"skipped: {error}"})
    except ModuleNotFoundError as error:
        report({"status": f"skipped: needs {error.name}, which is not installed"})
    except Exception as error:
        report({"status": "failed", "error": one_line(error)})


if __name__ == "__main__":
    main()
