"""Start or join a Ray cluster for the duration of a command."""

import contextlib
import logging
import os
import socket
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from models.errors import SkinserveError

CONNECT_TIMEOUT_S = 10
"""Of a connection to the head node."""
LOCAL_ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",  # Ray's ports listen on all interfaces
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # no cloud provider takes this machine back
    # keep Ray's other processes from using the cores:
    "RAY_prestart_worker_first_driver": "0",  # one worker process a core, for tasks that training has not
    "REPORTER_UPDATE_INTERVAL_MS": "60000",  # Ray's default: 5000
    "RAY_TRAIN_METRICS_ENABLED": "0",  # for a Prometheus server; a run has TensorBoard
}
"""Environment of a cluster started on this machine."""
CLEANER = "(PlacementGroupCleaner pid="
"""Prefix of the lines that Ray forwards from an actor of Ray Train."""


class ClusterError(SkinserveError):
    """The Ray cluster cannot be joined, or is too small."""


@contextmanager
def ray_cluster(address: str, *, with_dashboard: bool = False, option: str = "--address") -> Iterator[None]:
    """Join a Ray cluster or start a local one; leave or stop it at the end.

    Args:
        address: ``local`` starts a cluster, unless ``RAY_ADDRESS`` names one, as in a submitted job; ``auto``
            or ``host:port`` joins.
        with_dashboard: of a cluster that is started.
        option: of the command, for the message.

    Raises:
        ClusterError: there is no cluster at that address.
    """
    address = set_ray_environment(address)
    starts = address == "local"
    import ray
    from ray.exceptions import AuthenticationError

    if ray.is_initialized():
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            _check_reachable(address)
            ray.init(
                address=address,
                logging_level=logging.WARNING,
                include_dashboard=with_dashboard if starts else None,
            )
        except (OSError, ValueError, OverflowError, AuthenticationError) as error:
            raise ClusterError(f"no Ray cluster at {address} ({error}); correct or omit {option}") from error
        except Exception as error:  # for processes that do not start in time, Ray raises no other class
            if not starts:
                raise
            reason = str(error).strip().partition("\n")[0]
            raise ClusterError(f"Ray cannot be started on this machine ({reason}); try again") from error
    with contextlib.redirect_stderr(WithoutCleaner(sys.stderr)):
        try:
            yield
        finally:
            ray.shutdown()


def set_ray_environment(address: str) -> str:
    """Set the environment of Ray, which it reads when it is imported.

    Args:
        address: as for ``ray_cluster``.

    Returns:
        The address of the cluster, or ``local`` for one that is to be started.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 starves workers beside a busy program
    if address == "local":
        address = os.environ.get("RAY_ADDRESS", address)
    if address == "local" and "ray" not in sys.modules:
        for name, value in LOCAL_ENVIRONMENT.items():
            os.environ.setdefault(name, value)
    return address


class WithoutCleaner:
    """Pass text to a stream, except for the output of Ray Train's PlacementGroupCleaner.

    This actor warns every second of a missing dashboard. It ends with a traceback when the cluster stops, or
    if the machine has another cluster. Ray 2.60 has no setting for it; it documents the prefix of the lines.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._drops_newline = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text; ``print`` writes a line and its end separately."""
        drops, self._drops_newline = self._drops_newline and text == "\n", CLEANER in text
        if drops or self._drops_newline:
            return len(text)
        return self._stream.write(text)

    def flush(self) -> None:
        """Flush the stream."""
        self._stream.flush()


def _check_reachable(address: str) -> None:
    """Raise OSError if ``host:port`` is closed; Ray retries for minutes and then ends the process."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "//" not in host:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIMEOUT_S).close()
