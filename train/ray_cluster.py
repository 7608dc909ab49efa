"""Ray, for as long as a command needs it."""

import logging
import os
import socket
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from models.errors import SkinserveError

if TYPE_CHECKING:
    from ray.train.torch import TorchTrainer

PATIENCE_S = 10
"""For the head node of a cluster to take a connection."""
QUIET = {
    "RAY_prestart_worker_first_driver": "0",  # a worker a core, for tasks that no training has
    "REPORTER_UPDATE_INTERVAL_MS": "60000",  # 5000 unless told
    "RAY_TRAIN_METRICS_ENABLED": "0",  # for a Prometheus that nobody runs here; the run has its TensorBoard
}
"""So that Ray, started on one machine, leaves its cores to the training."""


class ClusterError(SkinserveError):
    """The Ray cluster cannot be joined."""


@contextmanager
def ray_cluster(address: str, *, with_dashboard: bool = False) -> Iterator[bool]:
    """Join the cluster, or start one on this machine; leaves what it joined and stops what it started.

    Args:
        address: ``local`` starts one, unless ``RAY_ADDRESS`` names one, as in a submitted job; ``auto`` or
            ``host:port`` joins.
        with_dashboard: of a cluster that is started; some of Ray asks it who is alive.

    Yields:
        Whether it was started here.

    Raises:
        ClusterError: there is none at that address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 starves workers beside a busy program
    if address == "local":
        address = os.environ.get("RAY_ADDRESS", address)
    starts = address == "local"
    if starts and "ray" not in sys.modules:  # an imported Ray has settled how it proves itself
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # its ports listen on all interfaces
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")  # nobody takes this machine away
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
    import ray
    from ray.exceptions import AuthenticationError

    if ray.is_initialized():
        yield False
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            _knock(address)
            ray.init(
                address=address,
                logging_level=logging.WARNING,
                include_dashboard=with_dashboard if starts else None,
            )
        except (OSError, ValueError, OverflowError, AuthenticationError) as error:
            raise ClusterError(f"no Ray cluster at {address} ({error}); correct or omit --address") from error
    try:
        yield starts
    finally:
        ray.shutdown()


def lone_trainer() -> "type[TorchTrainer]":
    """Return Ray Train's trainer without two of its actors, for a cluster that ends with its only run.

    The cleaner of placement groups frees the CPUs of a run whose controller died, for the next run, and asks
    the dashboard every second; the manager of datasets is for Ray Data, from which no training reads
    (decision 0008). Each takes a hundredth of a core even when idle. No setting turns them off, hence the
    private method.
    """
    from ray.train.torch import TorchTrainer
    from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
    from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback

    class LoneTrainer(TorchTrainer):
        def _create_default_callbacks(self) -> list[Any]:
            unused = (DatasetsCallback, PlacementGroupCleanerCallback)
            return [one for one in super()._create_default_callbacks() if not isinstance(one, unused)]

    return LoneTrainer


def _knock(address: str) -> None:
    """Raise OSError at once if nobody listens at ``host:port``; Ray would try for minutes and end itself."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "//" not in host:
        socket.create_connection((host.strip("[]"), int(port)), PATIENCE_S).close()
