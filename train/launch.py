"""Command line: ``skinserve train lesion --workers 4 --gpu``."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NoReturn, Union

import tyro

from models.errors import EXIT_DONE, EXIT_STOPPED, command
from models.storage import is_remote
from train.config import Job, Training
from train.cross_validation import run_folds
from train.data.manifest import load_manifest
from train.fit import fit
from train.ray_cluster import ray_cluster
from train.release import release_run
from train.tasks import RECIPES, task_of

UNWIND_S = 3
"""After Ctrl-C, to remove half-written files."""


@command("skinserve train")
def main(prog: str, arguments: Sequence[str] | None) -> int:
    """Train by the recipe named on the command line and print the checkpoint's address."""
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("train").setLevel(logging.INFO)  # no other library's INFO
    job = parse(arguments, prog=prog)
    draw_missing_data(job.training)
    job = replace(job, training=with_absolute_paths(job.training))
    if not job.scale.workers and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        main_pid = os.getpid()
        signal.signal(signal.SIGINT, lambda *_: _interrupt(job.training.run, main_pid))
    try:
        print(f"checkpoint in {launch(job)}")
    except KeyboardInterrupt:
        _stop(job.training.run)
    return EXIT_DONE


def parse(arguments: Sequence[str] | None, *, prog: str) -> Job[Any]:
    """Parse the command line into the job of a recipe with changed settings."""
    jobs = tuple(
        Annotated[
            Job[type(recipe.training)],  # pyright: ignore[reportInvalidTypeArguments]
            tyro.conf.subcommand(name, default=Job(training=recipe.training), description=recipe.description),
        ]
        for name, recipe in RECIPES.items()
    )
    job_type: Any = Union[jobs]  # noqa: UP007
    markers = (tyro.conf.AvoidSubcommands, tyro.conf.OmitArgPrefixes)
    return tyro.cli(job_type, args=arguments, prog=prog, config=markers)


def draw_missing_data(training: Training) -> None:
    """Draw the photos of a recipe with synthetic data, unless its manifest exists."""
    for recipe in RECIPES.values():
        if recipe.draw_data and training.manifest == recipe.training.manifest:
            manifest = Path(training.manifest)
            if not manifest.is_file():
                recipe.draw_data(manifest)


def launch(job: Job[Any]) -> str:
    """Train, release, and return the address of the checkpoint.

    Raises:
        RunStoppedError: the run cannot start or continue.
        ManifestError: the data cannot be split.
        KeyboardInterrupt: Ctrl-C; the training checkpoints of finished epochs are in the run folder.
    """
    training, scale = job.training, job.scale
    task, data = task_of(training), load_manifest(training.manifest)

    def train_and_release() -> str:
        if scale.folds:
            return run_folds(task, training, scale, data)
        fit(task, training, scale, data)
        return release_run(training.run, data=data)

    if not scale.workers:
        return train_and_release()
    with ray_cluster(scale.address, with_dashboard=scale.folds > 0):
        return _in_background(train_and_release)


def _in_background(call: Callable[[], str]) -> str:
    """Run in another thread; in the main thread Ray Train prints a traceback at Ctrl-C."""
    outcome: Future[str] = Future()

    def work() -> None:
        try:
            outcome.set_result(call())
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return outcome.result()


def _interrupt(run: str, main_pid: int) -> NoReturn:
    """Raise KeyboardInterrupt; end the process if Python drops it, as in a destructor."""
    if os.getpid() == main_pid:  # not in processes that load photos
        last_resort = threading.Timer(UNWIND_S, _stop, (run,))
        last_resort.daemon = True
        last_resort.start()
    raise KeyboardInterrupt


def _stop(run: str) -> NoReturn:
    """End the process at once: threads of Ray Train may wait for workers that have ended."""
    try:
        os.write(sys.stderr.fileno(), f"\nstopped; the same command resumes from {run}\n".encode())
    finally:  # Ctrl-C may have ended the reader of stderr, too
        os._exit(EXIT_STOPPED)


def with_absolute_paths(training: Training) -> Training:
    """Return settings that are valid in a worker's working directory."""
    changed = {}
    for name in training.PATHS:
        address = getattr(training, name)
        if address and not is_remote(address):
            changed[name] = os.path.abspath(address)
    if os.path.exists(training.init):
        changed["init"] = os.path.abspath(training.init)
    return replace(training, **changed)


if __name__ == "__main__":
    sys.exit(main())
