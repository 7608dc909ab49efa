"""Epochs of two ways to train, interleaved: with and without Ray, one and two workers.

Part of ``bench.scenarios.training``. Both trainings exist at once, each with all of its processes. One is
suspended by SIGSTOP while the other runs.
"""

import contextlib
import multiprocessing
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import torch

from train.config import Scale
from train.fit import fit
from train.lesion.config import LesionTraining
from train.lesion.task import LesionTask
from train.ray_cluster import ray_cluster

TURN_S = 2
"""Short, because the speed of the machine changes from minute to minute."""
EPOCH_TIMEOUT_S = 300


Fit = Callable[[LesionTraining, int], None]
"""Trains with a number of threads in all."""


def epoch_seconds(
    config: LesionTraining, first: Fit, second: Fit, *, num_epochs: int, threads: int
) -> tuple[list[float], list[float]]:
    """Return the seconds of each epoch of two ways to train.

    Args:
        threads: of each training; 0 takes all cores, which Ray's own processes share.
    """
    threads = threads or torch.get_num_threads()
    trainings = [
        SuspendableTraining(fit_, replace(config, run=f"{config.run}-{name}"), threads)
        for name, fit_ in (("first", first), ("second", second))
    ]
    try:
        for training in trainings:
            training.start()
        while min(len(training.epochs_s) for training in trainings) <= num_epochs:
            for training in trainings:
                training.run_turn()
    finally:
        for training in trainings:
            training.kill()
    of_first, of_second = (training.epochs_s[1 : num_epochs + 1] for training in trainings)  # 0 warms up
    return of_first, of_second


def fit_without_ray(training: LesionTraining, threads: int) -> None:
    """Train in this process."""
    torch.set_num_threads(threads)
    fit(LesionTask(), training, Scale(workers=0))


def fit_on_ray(training: LesionTraining, threads: int) -> None:
    """Train with one worker of Ray Train, as ``skinserve train`` does."""
    with ray_cluster("local"):
        on_gpu = training.device.startswith("cuda")
        fit(LesionTask(), training, Scale(workers=1, gpu=on_gpu, cpus_per_worker=threads))


def fit_on_two_workers(training: LesionTraining, threads: int) -> None:
    """Train with two workers of Ray Train that share threads and examples of one."""
    half = replace(training, batch_size=training.batch_size // 2)
    with ray_cluster("local"):
        fit(LesionTask(), half, Scale(workers=2, cpus_per_worker=threads // 2))


class SuspendableTraining:
    """Run a training in a child process, in turns of ``TURN_S``."""

    def __init__(self, target: Fit, training: LesionTraining, threads: int) -> None:
        self._log = Path(training.run) / "log.jsonl"
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=target, args=(training, threads))
        self._epoch_s = 0.0
        self.epochs_s: list[float] = []
        """Seconds of each epoch but the first, without suspended time."""

    def start(self) -> None:
        """Start the training and suspend it after the first epoch."""
        self._process.start()
        deadline = time.monotonic() + EPOCH_TIMEOUT_S
        while not self._num_epochs():
            self._check(deadline)
            time.sleep(0.01)
        self._send_signal(signal.SIGSTOP)

    def run_turn(self) -> None:
        """Resume the training for ``TURN_S``.

        Raises:
            RuntimeError: the training ended.
            TimeoutError: an epoch takes more than ``EPOCH_TIMEOUT_S``.
        """
        started = before = time.perf_counter()
        self._send_signal(signal.SIGCONT)
        while before < started + TURN_S:
            time.sleep(0.01)
            now = time.perf_counter()
            self._epoch_s, before = self._epoch_s + now - before, now
            if self._num_epochs() > 1 + len(self.epochs_s):
                self.epochs_s.append(self._epoch_s)
                self._epoch_s = 0.0
        self._send_signal(signal.SIGSTOP)
        self._check(time.monotonic() + EPOCH_TIMEOUT_S - self._epoch_s)

    def kill(self) -> None:
        """Kill all processes of the training."""
        if self._process.pid is not None:
            self._send_signal(signal.SIGKILL)
            self._process.join()

    def _num_epochs(self) -> int:
        return self._log.read_bytes().count(b"\n") if self._log.is_file() else 0

    def _check(self, deadline: float) -> None:
        if not self._process.is_alive():
            raise RuntimeError(f"the training of {self._log.parent} has ended")
        if time.monotonic() > deadline:
            raise TimeoutError(f"no further epoch in {self._log} after {EPOCH_TIMEOUT_S} s")

    def _send_signal(self, number: signal.Signals) -> None:
        """Send a signal to all current processes; Ray replaces workers that die."""
        with contextlib.suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self._process.pid)
            for process in (*parent.children(recursive=True), parent):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
