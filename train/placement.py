"""Room for the workers of a training run on the nodes of a Ray cluster."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from train.distributed import RunStoppedError

log = logging.getLogger(__name__)

WARN_AFTER_S = 30.0
"""Time without a place for the workers after which a warning is logged; Ray Train retries without a word."""
POLL_S = 5.0
CHECK_TIMEOUT_S = 120.0
"""For the nodes to import PyTorch; a node that takes longer is not checked."""
WHAT_TO_DO = "waiting; add nodes, stop other work, or lower --workers or --cpus-per-worker"
LOWEST_DRIVER = 580
"""Of NVIDIA, for the CUDA 13 libraries that the locked PyTorch brings."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """What one Ray node offers in all, whether in use or not."""

    node_id: str = ""
    address: str = ""
    cpus: float = 0
    gpus: float = 0

    def slots(self, cpus: int, *, gpu: bool) -> int:
        """Return how many workers with ``cpus`` each, and one GPU each if ``gpu``, fit on this node."""
        slots = int(self.cpus // cpus)
        return min(slots, int(self.gpus)) if gpu else slots


def alive_nodes() -> list[Node]:
    """List the nodes of the connected cluster that are alive."""
    import ray

    return [
        Node(
            node_id=node["NodeID"],
            address=node["NodeManagerAddress"],
            cpus=node["Resources"].get("CPU", 0),
            gpus=node["Resources"].get("GPU", 0),
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def count_slots(nodes: Sequence[Node], cpus: int, *, gpu: bool) -> int:
    """Count the workers with ``cpus`` each that fit on ``nodes``, node by node."""
    return sum(node.slots(cpus, gpu=gpu) for node in nodes)


def largest_share(nodes: Sequence[Node], num_workers: int, *, gpu: bool) -> int:
    """Return the most CPUs per worker with which all workers fit, at least 1.

    If they do not fit with one CPU each, the share is that of as many workers as fit: nodes of the same kind
    that are added later have room for it.
    """
    fitting = min(num_workers, count_slots(nodes, 1, gpu=gpu))
    most = max((int(node.cpus) for node in nodes), default=1)
    for cpus in range(most, 1, -1):
        if fitting and count_slots(nodes, cpus, gpu=gpu) >= fitting:
            return cpus
    return 1


def describe_demand(num_workers: int, cpus: int, *, gpu: bool) -> str:
    """Return what the workers need, as part of a message."""
    each = _count(cpus, "CPU") + (" and 1 GPU" if gpu else "")
    return f"1 worker needs {each}" if num_workers == 1 else f"{num_workers} workers need {each} each"


def describe_nodes(nodes: Sequence[Node]) -> str:
    """Return the kinds of nodes with CPUs or GPUs and how many there are of each, most GPUs first."""
    kinds = Counter((node.gpus, node.cpus) for node in nodes if node.cpus or node.gpus)
    parts = [
        f"{_count(number, 'node')} with {_count(cpus, 'CPU')} and {_count(gpus, 'GPU')}"
        for (gpus, cpus), number in sorted(kinds.items(), reverse=True)
    ]
    return ", ".join(parts) or "no node with CPUs"


def _count(number: float, what: str) -> str:
    return f"{number:g} {what}" if number == 1 else f"{number:g} {what}s"


def shortage(nodes: Sequence[Node], num_workers: int, cpus: int, *, gpu: bool) -> str:
    """Return what was needed and found if the workers do not fit on ``nodes``; nothing if they do."""
    slots = count_slots(nodes, cpus, gpu=gpu)
    if slots >= num_workers:
        return ""
    room = f"room for {slots}" if slots else "no room for one"
    return (
        f"{describe_demand(num_workers, cpus, gpu=gpu)}, and the cluster has {room}: {describe_nodes(nodes)}"
    )


def check_gpus(nodes: Sequence[Node]) -> None:
    """Refuse GPUs that Ray offers and PyTorch does not see.

    Ray believes what it was started with. Without this check every worker fails when it joins the others,
    with a page of traceback.

    Raises:
        RunStoppedError: PyTorch sees fewer CUDA devices on a node than Ray counts.
    """
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    look = ray.remote(num_cpus=0, max_retries=0)(visible_gpus)
    tasks = {
        look.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node.node_id, soft=False)
        ).remote(): node
        for node in nodes
        if node.gpus >= 1
    }
    done, late = ray.wait(list(tasks), num_returns=len(tasks), timeout=CHECK_TIMEOUT_S) if tasks else ([], [])
    for task in late:
        ray.cancel(task)
        log.warning(
            "the GPUs of node %s were not checked: no answer within %g s",
            tasks[task].address,
            CHECK_TIMEOUT_S,
        )
    for task in done:
        node = tasks[task]
        try:
            num_visible, reason = ray.get(task)
        except RayError as error:  # the node has just gone
            log.warning("the GPUs of node %s were not checked: %s", node.address, type(error).__name__)
            continue
        if num_visible < node.gpus:
            raise RunStoppedError(
                f"Ray offers {_count(node.gpus, 'GPU')} on node {node.address}, but PyTorch sees "
                f"{_count(num_visible, 'CUDA device')} there ({reason}); install the NVIDIA driver "
                f"{LOWEST_DRIVER} or newer, start the container with its GPUs (docker run --gpus all), or "
                "leave --gpu out"
            )


def visible_gpus() -> tuple[int, str]:
    """Return how many CUDA devices PyTorch sees in this process, and the reason if there is none."""
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:  # AssertionError: PyTorch without CUDA
        return 0, " ".join(str(error).split()).split(". ")[0] or "no reason given"
    return torch.cuda.device_count(), "it gives no reason"


@contextmanager
def warn_while_unplaced(num_workers: int, cpus: int, *, gpu: bool, warned: bool = False) -> Iterator[None]:
    """Log one warning each time that the workers wait for room for longer than ``WARN_AFTER_S``.

    Ray Train creates a placement group, waits for a minute, removes it and retries indefinitely.

    Args:
        warned: the shortage at the start has already been logged.
    """
    from ray.util import placement_group_table

    bundle = {"CPU": float(cpus), **({"GPU": 1.0} if gpu else {})}
    known = set(placement_group_table())
    ended = threading.Event()

    def watch() -> None:
        pending_since: dict[str, float] = {}  # not from the start on: Ray Train requests resources late
        has_warned = warned
        while not ended.wait(POLL_S):
            states = _states(placement_group_table(), known, [bundle] * num_workers)
            pending = {group for group, state in states.items() if state not in ("CREATED", "REMOVED")}
            pending_since = {group: pending_since.get(group, time.monotonic()) for group in pending}
            if not pending:
                if has_warned and "CREATED" in states.values():
                    log.info("workers placed")
                    has_warned = False
                continue
            waited_s = time.monotonic() - min(pending_since.values())
            if not has_warned and waited_s > WARN_AFTER_S:
                has_warned = True
                log.warning(_waiting(num_workers, cpus, gpu=gpu))

    threading.Thread(target=watch, name="placement", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _states(table: dict[str, Any], known: set[str], bundles: list[dict[str, float]]) -> dict[str, str]:
    """Return the states of the placement groups that were created since and have these bundles, by id."""
    return {
        group_id: group["state"]
        for group_id, group in table.items()
        if group_id not in known and list(group["bundles"].values()) == bundles
    }


def _waiting(num_workers: int, cpus: int, *, gpu: bool) -> str:
    import ray

    nodes, free = alive_nodes(), ray.available_resources()
    found = shortage(nodes, num_workers, cpus, gpu=gpu) or (
        f"{describe_demand(num_workers, cpus, gpu=gpu)}, and other jobs use the resources: "
        f"{describe_nodes(nodes)}; free: {_count(free.get('CPU', 0), 'CPU')} and "
        f"{_count(free.get('GPU', 0), 'GPU')}"
    )
    return f"{found}; {WHAT_TO_DO}"
