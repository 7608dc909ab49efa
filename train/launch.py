"""The command line of training: ``skinserve train lesion --workers 4 --gpu``."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import NoReturn

import tyro

from models.errors import EXIT_DONE, command
from models.storage import delete, is_remote, join, write_bytes
from train.config import LesionJob, ProgressJob, Scale, Training
from train.cross_validation import run_folds, side_by_side
from train.distributed import RunStoppedError, Team
from train.placement import (
    WHAT_TO_DO,
    alive_nodes,
    check_gpus,
    largest_share,
    shortage,
    warn_while_unplaced,
)
from train.ray_cluster import ClusterError, lone_trainer, ray_cluster
from train.recipes import RECIPES, draw_smoke_photos
from train.release import release_run
from train.run import run, train_on_ray

log = logging.getLogger("train.launch")  # as a program this module is called __main__

UNWIND_S = 3
"""After Ctrl-C, for files that are half written to be taken away."""
KEEP_MEMORY = {"MALLOC_ARENA_MAX": "1"}
"""For glibc: Ray trains in a second thread, whose own heap gives memory back and asks for it again. With one
heap for all threads turns were faster (docs/training.md), by less than they differ among themselves."""


@command("skinserve train")
def main(prog: str, arguments: Sequence[str] | None) -> int:
    """Train by the recipe that the command line names and print the address of the checkpoint."""
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("train").setLevel(logging.INFO)  # no other library's INFO
    job = tyro.extras.overridable_config_cli(
        RECIPES, args=arguments, prog=prog, config=(tyro.conf.OmitArgPrefixes,)
    )
    job = replace(job, training=with_absolute_paths(job.training))
    if not job.scale.workers and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        main_pid = os.getpid()
        signal.signal(signal.SIGINT, lambda *_: _interrupt(job.training.run, main_pid))
    try:
        print(f"checkpoint in {launch(job)}")
    except KeyboardInterrupt:
        _stop(job.training.run)
    return EXIT_DONE


def _interrupt(run: str, main_pid: int) -> NoReturn:
    """Raise KeyboardInterrupt; end the process if Python drops it, as it does while it collects garbage."""
    if os.getpid() == main_pid:  # not in processes that load photos
        last_resort = threading.Timer(UNWIND_S, _stop, (run,))
        last_resort.daemon = True
        last_resort.start()
    raise KeyboardInterrupt


def _stop(run: str) -> NoReturn:
    """End the process although threads of Ray Train may still wait for workers that are gone."""
    try:
        os.write(sys.stderr.fileno(), f"\nstopped; the same command goes on from {run}\n".encode())
    finally:  # Ctrl-C may have ended who reads this, too
        os._exit(130)


def launch(job: LesionJob | ProgressJob) -> str:
    """Train, release, and return the address of the checkpoint.

    Raises:
        RunStoppedError: the run cannot go on.
        ManifestError: the data cannot be split.
        KeyboardInterrupt: Ctrl-C; the states of all finished epochs are in the run's folder.
    """
    training, scale = job.training, job.scale
    draw_smoke_photos(training)
    if not scale.workers:
        return _train(training, scale)
    with ray_cluster(scale.address, with_dashboard=scale.folds > 0) as started:
        return _in_background(lambda: _train(training, scale, alone=started))


def _train(training: Training, scale: Scale, *, alone: bool = False) -> str:
    if scale.folds:
        return run_folds(training, scale, fit)
    fit(training, scale, alone=alone)
    return release_run(training.run)


def _in_background(call: Callable[[], str]) -> str:
    """Run in another thread: in the main one, Ray Train takes Ctrl-C for itself and ends with a traceback."""
    outcome: Future[str] = Future()

    def work() -> None:
        try:
            outcome.set_result(call())
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return outcome.result()


def fit(training: Training, scale: Scale, *, alone: bool = False) -> None:
    """Train one network in this process, or on the Ray cluster that is connected.

    Args:
        alone: the cluster has no other run, and ends with this one.

    Raises:
        RunStoppedError: the run cannot go on.
    """
    if not scale.workers:
        run(training, Team(device=training.device))
        return
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer

    cpus = cpus_per_worker(scale)
    has_room = _check_room(scale, cpus)
    if scale.gpu:
        check_gpus(alive_nodes())
    probe = join(training.run, ".writable")
    write_bytes(probe, b"")  # what Ray says of a folder that it cannot write is a page long
    delete(probe)
    trainer = (lone_trainer() if alone else TorchTrainer)(
        train_on_ray,
        train_loop_config={"training": training, "shows_progress": sys.stderr.isatty()},
        torch_config=TorchConfig(timeout_s=scale.collective_timeout_s),
        scaling_config=ray.train.ScalingConfig(
            num_workers=scale.workers,
            use_gpu=scale.gpu,
            resources_per_worker={"CPU": cpus, **({"GPU": 1} if scale.gpu else {})},
        ),
        run_config=ray.train.RunConfig(
            name="ray",  # what Ray itself stores of the run; ours is beside it
            storage_path=training.run,
            failure_config=ray.train.FailureConfig(max_failures=scale.max_failures),
            worker_runtime_env={"env_vars": KEEP_MEMORY},
            logging_config=ray.train.LoggingConfig(log_level="WARNING"),
        ),
    )
    try:
        with warn_while_unplaced(scale.workers, cpus, gpu=scale.gpu, warned=not has_room):
            refusal = trainer.fit().return_value
    except ray.train.ControllerError as error:
        failure = error.controller_failure
        reason = " ".join(str(getattr(failure, "cause", failure)).split())
        raise RunStoppedError(
            f"Ray could not start the workers ({reason}); fix the cause, and repeat the command to "
            f"resume from the last epoch in {training.run}"
        ) from error
    except ray.train.TrainingFailedError as error:
        raise RunStoppedError(
            f"the workers failed {scale.max_failures + 1} times ({error}); the same command goes on from "
            f"the last epoch in {training.run}"
        ) from error
    if refusal:
        raise RunStoppedError(refusal)


def _check_room(scale: Scale, cpus: int) -> bool:
    """Return whether the workers fit; refuse on a cluster started here, warn on one that may grow.

    Raises:
        ClusterError: the cluster was started here and never gets room.
    """
    found = shortage(alive_nodes(), scale.workers, cpus, gpu=scale.gpu)
    if found and scale.address == "local" and "RAY_ADDRESS" not in os.environ:
        raise ClusterError(
            f"{found}; lower --workers or --cpus-per-worker, leave --gpu out, or join a larger cluster with "
            "--address"
        )
    if found:
        log.warning("%s; %s", found, WHAT_TO_DO)
    return not found


def cpus_per_worker(scale: Scale) -> int:
    """Return the CPUs of one worker: as set, else the largest share for which there is room."""
    if scale.cpus_per_worker:
        return scale.cpus_per_worker
    num_workers = scale.workers * (side_by_side(scale) if scale.folds else 1)
    return largest_share(alive_nodes(), num_workers, gpu=scale.gpu)


def with_absolute_paths(training: Training) -> Training:
    """Return settings that mean the same in a worker's folder."""
    changed = {}
    for name in ("manifest", "run", "split", "cache", "faces"):
        address = getattr(training, name, "")
        if address and not is_remote(address):
            changed[name] = os.path.abspath(address)
    if os.path.isdir(training.init):
        changed["init"] = os.path.abspath(training.init)
    return replace(training, **changed)


if __name__ == "__main__":
    sys.exit(main())
