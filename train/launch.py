"""The command line of training: ``python -m train.launch lesion --workers 4 --gpu``."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import tyro

from models.storage import StorageError, is_remote
from train.config import LesionJob, ProgressJob, Scale, Training
from train.folds import run_folds
from train.manifest import ManifestError
from train.recipes import RECIPES, draw_smoke_photos
from train.release import ReleaseError, release_run
from train.team import RunStoppedError, Team
from train.worker import run, train_on_ray

log = logging.getLogger("train.launch")

WITHOUT_RAY = Scale(workers=0)
REFUSALS = (RunStoppedError, ManifestError, StorageError, ReleaseError)


def main() -> None:
    """Train by the recipe that the command line names and print where the checkpoint is."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    job = tyro.extras.overridable_config_cli(RECIPES, config=(tyro.conf.OmitArgPrefixes,))
    job = replace(job, training=with_absolute_paths(job.training))
    try:
        print(f"checkpoint in {launch(job)}")
    except REFUSALS as error:
        raise SystemExit(f"train.launch: {error}") from error
    except KeyboardInterrupt:
        log.info("stopped; the same command goes on from %s", job.training.run)
        raise SystemExit(130) from None


def launch(job: LesionJob | ProgressJob) -> str:
    """Train, release, and return the address of the checkpoint.

    Raises:
        RunStoppedError: the run cannot go on.
        ManifestError: the data cannot be split.
        KeyboardInterrupt: Ctrl-C; the states of all finished epochs are in the run's folder.
    """
    training, scale = job.training, job.scale
    draw_smoke_photos(training)
    with ray_cluster(scale):
        if scale.folds:
            return run_folds(training, scale, fit)
        fit(training, scale)
    return release_run(training.run)


def fit(training: Training, scale: Scale) -> None:
    """Train one network in this process, or on the Ray cluster that is connected.

    Raises:
        RunStoppedError: the run cannot go on.
    """
    if not scale.workers:
        run(training, Team(device=training.device))
        return
    import ray.train
    from ray.train.torch import TorchTrainer

    trainer = TorchTrainer(
        train_on_ray,
        train_loop_config=training,  # pyright: ignore[reportArgumentType]
        scaling_config=ray.train.ScalingConfig(
            num_workers=scale.workers,
            use_gpu=scale.gpu,
            resources_per_worker={"CPU": cpus_per_worker(scale), **({"GPU": 1} if scale.gpu else {})},
        ),
        run_config=ray.train.RunConfig(
            name="ray", # what Ray itself stores of the run; ours is beside it
            storage_path=training.run,
            failure_config=ray.train.FailureConfig(max_failures=scale.max_failures),
            logging_config=ray.train.LoggingConfig(log_level="WARNING"),
        ),
    )
    try:
        refusal = trainer.fit().return_value
    except ray.train.TrainingFailedError as error:
        raise RunStoppedError(
            f"the workers failed {scale.max_failures + 1} times ({error}); the same command goes on from the last "
            f"epoch in {training.run}"
        ) from error
    if refusal:
        raise RunStoppedError(refusal)


@contextmanager
def ray_cluster(scale: Scale) -> Iterator[None]:
    """Connect to the cluster, or start one on this machine, for as long as the context lasts."""
    if not scale.workers:
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 starves workers beside a busy program
    os.environ.setdefault("RAY_AUTH_MODE", "token") if scale.address == "local" else None
    import ray

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(address=os.environ.get("RAY_ADDRESS", scale.address))
    try:
        yield
    finally:
        ray.shutdown()


def cpus_per_worker(scale: Scale) -> int:
    """Return the CPUs of one worker: as set, else an equal share of the cluster's for each worker of each fold."""
    if scale.cpus_per_worker:
        return scale.cpus_per_worker
    import ray

    return max(1, int(ray.cluster_resources().get("CPU", 1)) // (scale.workers * max(1, scale.folds)))


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
    main()
