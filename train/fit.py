"""Train one network in this process, or on the Ray cluster that is connected."""

import logging
import os
import sys
from typing import Any

from models.storage import delete, join, write_bytes
from train.config import Scale, Training
from train.data.manifest import Manifest
from train.distributed import DistributedContext, RunStoppedError
from train.placement import (
    WHAT_TO_DO,
    alive_nodes,
    check_gpus,
    count_slots,
    largest_share,
    shortage,
    warn_while_unplaced,
)
from train.ray_cluster import ClusterError
from train.run import run
from train.task import Task

log = logging.getLogger(__name__)

WORKER_ENVIRONMENT = {"MALLOC_ARENA_MAX": "1"}
"""One glibc heap for all threads. Ray trains in a second thread, whose own heap returns memory to the system
and requests it again; measured in docs/training.md, section 7, with a gain smaller than the noise."""


def fit(task: Task[Any], training: Training, scale: Scale, data: Manifest | None = None) -> None:
    """Train one network.

    Args:
        data: the manifest, where it has been read already; Ray's workers read it themselves.

    Raises:
        RunStoppedError: the run cannot start or continue.
    """
    if scale.workers:
        _fit_on_ray(task, training, scale)
    else:
        run(task, training, DistributedContext(device=training.device), data.rows if data else None)


def parallel_folds(scale: Scale) -> int:
    """Return the number of folds that the cluster can train in parallel."""
    slots = count_slots(alive_nodes(), max(1, scale.cpus_per_worker), gpu=scale.gpu)
    return max(1, min(scale.folds, slots // scale.workers))


def train_worker(settings: dict[str, Any]) -> str:
    """Train as one worker of Ray Train; all workers receive the same settings.

    Args:
        settings: ``task``, ``training``, and ``shows_progress``: whether stderr is a terminal.

    Returns:
        The message of an expected error, or an empty string. An exception would restart the workers in vain.
    """
    import ray.train
    import ray.train.torch
    from ray.experimental import tqdm_ray

    logging.getLogger().setLevel(logging.WARNING)  # Ray sets INFO, also for boto3
    logging.getLogger("train").setLevel(logging.INFO)
    ray_context = ray.train.get_context()
    context = DistributedContext(
        rank=ray_context.get_world_rank(),
        world_size=ray_context.get_world_size(),
        device=str(ray.train.torch.get_device()),
        prepare_model=ray.train.torch.prepare_model,
        report=ray.train.report,
        progress_bar=tqdm_ray.tqdm if settings["shows_progress"] else None,
    )
    try:
        run(settings["task"], settings["training"], context)
    except RunStoppedError as error:
        return str(error)
    return ""


def _fit_on_ray(task: Task[Any], training: Training, scale: Scale) -> None:
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer

    cpus = cpus_per_worker(scale)
    has_room = check_room(scale, cpus)
    if scale.gpu:
        check_gpus(alive_nodes())
    _check_writable(training.run)
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={"task": task, "training": training, "shows_progress": sys.stderr.isatty()},
        torch_config=TorchConfig(timeout_s=scale.collective_timeout_s),
        scaling_config=ray.train.ScalingConfig(
            num_workers=scale.workers,
            use_gpu=scale.gpu,
            resources_per_worker={"CPU": cpus, **({"GPU": 1} if scale.gpu else {})},
        ),
        run_config=ray.train.RunConfig(
            name="ray",  # folder for Ray's own files, inside the run folder
            storage_path=training.run,
            failure_config=ray.train.FailureConfig(max_failures=scale.max_failures),
            worker_runtime_env={"env_vars": WORKER_ENVIRONMENT},
            logging_config=ray.train.LoggingConfig(log_level="ERROR"),  # a busy cluster warns often
        ),
    )
    try:
        with warn_while_unplaced(scale.workers, cpus, gpu=scale.gpu, warned=not has_room):
            message = trainer.fit().return_value
    except ray.train.ControllerError as error:
        failure = error.controller_failure
        reason = " ".join(str(getattr(failure, "cause", failure)).split())
        raise RunStoppedError(
            f"Ray could not start the workers ({reason}); fix the cause, and repeat the command to "
            f"resume from the last epoch in {training.run}"
        ) from error
    except ray.train.TrainingFailedError as error:
        raise RunStoppedError(
            f"the workers failed {scale.max_failures + 1} times ({error}); repeat the command to resume from "
            f"the last epoch in {training.run}"
        ) from error
    if message:
        raise RunStoppedError(message)


def _check_writable(folder: str) -> None:
    """Raise StorageError in one line; Ray's own message about such a folder is a page long."""
    probe = join(folder, ".writable")
    write_bytes(probe, b"")
    delete(probe)


def check_room(scale: Scale, cpus: int) -> bool:
    """Check whether the workers fit; reject on a local cluster, warn on a joined one.

    Raises:
        ClusterError: the workers do not fit on a cluster of this machine only.
    """
    missing = shortage(alive_nodes(), scale.workers, cpus, gpu=scale.gpu)
    if missing and scale.address == "local" and "RAY_ADDRESS" not in os.environ:
        raise ClusterError(
            f"{missing}; lower --workers or --cpus-per-worker, leave --gpu out, or join a larger cluster "
            "with --address"
        )
    if missing:
        log.warning("%s; %s", missing, WHAT_TO_DO)
    return not missing


def cpus_per_worker(scale: Scale) -> int:
    """Return the CPUs of one worker: as set, else the largest share with which all fit."""
    if scale.cpus_per_worker:
        return scale.cpus_per_worker
    num_workers = scale.workers * (parallel_folds(scale) if scale.folds else 1)
    return largest_share(alive_nodes(), num_workers, gpu=scale.gpu)
