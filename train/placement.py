"""Check that the workers of a training run fit on the nodes of a Ray cluster."""

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
"""Time without placement after which a warning is logged; Ray Train retries silently."""
POLL_S = 5.0
CHECK_TIMEOUT_S = 120.0
"""Of the GPU check, which imports PyTorch on each node; slower nodes are not checked."""
WHAT_TO_DO = "waiting; add nodes, stop other work, or lower --workers or --cpus-per-worker"
LOWEST_DRIVER = 580
"""NVIDIA driver that the CUDA 13 libraries of the locked PyTorch need."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """Resources of a Ray node, in use or not."""

    node_id: str = ""
    address: str = ""
    cpus: float = 0
    gpus: float = 0

    def slots(self, cpus: int, *, gpu: bool) -> int:
        """Return the number of workers that fit, with ``cpus`` each, and one GPU each if ``gpu``."""
        slots = int(self.cpus // cpus)
        return min(slots, int(self.gpus)) if gpu else slots


def alive_nodes() -> list[Node]:
    """List the living nodes of the connected cluster."""
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
    """Return the largest number of CPUs per worker with which all workers fit, at least 1.

    If they do not fit with one CPU each, the share is that of as many workers as fit, which nodes of the same
    kind can host when they are added.
    """
    fitting = min(num_workers, count_slots(nodes, 1, gpu=gpu))
    most = max((int(node.cpus) for node in nodes), default=1)
    for cpus in range(most, 1, -1):
        if fitting and count_slots(nodes, cpus, gpu=gpu) >= fitting:
            return cpus
    return 1


def describe_demand(num_workers: int, cpus: int, *, gpu: bool) -> str:
    """Describe the resources of the workers, for a message."""
    each = _count(cpus, "CPU") + (" and 1 GPU" if gpu else "")
    return f"1 worker needs {each}" if num_workers == 1 else f"{num_workers} workers need {each} each"


def describe_nodes(nodes: Sequence[Node]) -> str:
    """Describe the nodes with CPUs or GPUs by kind, most GPUs first, for a message."""
    kinds = Counter((node.gpus, node.cpus) for node in nodes if node.cpus or node.gpus)
    parts = [
        f"{_count(number, 'node')} with {_count(cpus, 'CPU')} and {_count(gpus, 'GPU')}"
        for (gpus, cpus), number in sorted(kinds.items(), reverse=True)
    ]
    return ", ".join(parts) or "no node with CPUs"


def _count(number: float, what: str) -> str:
    return f"{number:g} {what}" if number == 1 else f"{number:g} {what}s"


def shortage(nodes: Sequence[Node], num_workers: int, cpus: int, *, gpu: bool) -> str:
    """Describe demand and nodes if the workers do not fit, else return an empty string."""
    slots = count_slots(nodes, cpus, gpu=gpu)
    if slots >= num_workers:
        return ""
    room = f"room for {slots}" if slots else "no room for one"
    return (
        f"{describe_demand(num_workers, cpus, gpu=gpu)}, and the cluster has {room}: {describe_nodes(nodes)}"
    )


def check_gpus(nodes: Sequence[Node]) -> None:
    """Reject GPUs that Ray declares and PyTorch does not detect.

    Ray trusts its start options. Without this check every worker fails when it joins the process group, with
    a page of traceback.

    Raises:
        RunStoppedError: PyTorch detects fewer CUDA devices on a node than Ray declares.
    """
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    count = ray.remote(num_cpus=0, max_retries=0)(visible_gpus)
    tasks = {
        count.options(
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
    """Return the number of CUDA devices of this process, and the reason if there is none."""
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:  # AssertionError: PyTorch without CUDA
        return 0, " ".join(str(error).split()).split(". ")[0] or "no reason given"
    return torch.cuda.device_count(), "it gives no reason"


@contextmanager
def warn_while_unplaced(num_workers: int, cpus: int, *, gpu: bool, warned: bool = False) -> Iterator[None]:
    """Log a warning if placement of the workers takes longer than ``WARN_AFTER_S``.

    Ray Train creates a placement group, waits for a minute, removes it and retries indefinitely.

    Args:
        warned: the shortage at the start was logged before.
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
    """Return the states of new placement groups with these bundles, by id."""
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
