"""Placement of the workers of a training run, on fake nodes."""

import logging
import time
from typing import Any

import pytest
import ray.util
import torch

import train.fit
from train import placement
from train.config import Scale
from train.distributed import RunStoppedError
from train.fit import check_room, cpus_per_worker, parallel_folds
from train.placement import Node, check_gpus, largest_share, shortage, visible_gpus, warn_while_unplaced
from train.ray_cluster import ClusterError

HEAD, PHOTOS, NETWORKS = Node(), Node(cpus=8), Node(cpus=8, gpus=1)
MIXED = [HEAD, *8 * [PHOTOS], *2 * [NETWORKS]]


@pytest.fixture
def mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (placement, train.fit):
        monkeypatch.setattr(module, "alive_nodes", lambda: MIXED)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def test_workers_with_gpus_share_the_cpus_of_the_gpu_nodes(mixed: None):
    assert cpus_per_worker(Scale(workers=2, gpu=True, address="auto")) == 8


@pytest.mark.parametrize(
    ("nodes", "num_workers", "gpu", "share"),
    [
        ([Node(cpus=8), Node(cpus=8), Node(cpus=4)], 1, False, 8),  # not the 20 of the sum
        ([Node(cpus=8), Node(cpus=8), Node(cpus=4)], 3, False, 4),
        ([Node(cpus=10), Node(cpus=2)], 3, False, 3),
        ([Node(cpus=96, gpus=8)], 8, True, 12),
        ([Node(cpus=96, gpus=8), Node(cpus=8, gpus=1)], 9, True, 8),
        ([Node(cpus=96, gpus=8), Node(cpus=8, gpus=1)], 8, True, 12),
        ([Node(cpus=2)], 4, False, 1),
    ],
)
def test_the_share_is_the_largest_with_which_all_fit_node_by_node(
    nodes: list[Node], num_workers: int, gpu: bool, share: int
):
    assert largest_share(nodes, num_workers, gpu=gpu) == share


def test_workers_that_do_not_fit_get_the_share_of_added_nodes_of_the_same_kind():
    assert largest_share(MIXED, 5, gpu=True) == 8
    assert largest_share([HEAD], 5, gpu=True) == 1


def test_folds_run_in_parallel_as_the_nodes_allow(mixed: None):
    with_gpus = Scale(workers=1, gpu=True, folds=5, address="auto")

    assert parallel_folds(with_gpus) == 2
    assert cpus_per_worker(with_gpus) == 8
    assert parallel_folds(Scale(workers=6, cpus_per_worker=8, folds=5, address="auto")) == 1


def test_a_shortage_names_demand_and_nodes():
    assert shortage(MIXED, 2, 8, gpu=True) == ""
    assert shortage(MIXED, 5, 8, gpu=True) == (
        "5 workers need 8 CPUs and 1 GPU each, and the cluster has room for 2: "
        "2 nodes with 8 CPUs and 1 GPU, 8 nodes with 8 CPUs and 0 GPUs"
    )
    assert shortage(MIXED, 1, 12, gpu=False) == (
        "1 worker needs 12 CPUs, and the cluster has no room for one: "
        "2 nodes with 8 CPUs and 1 GPU, 8 nodes with 8 CPUs and 0 GPUs"
    )


def test_a_shortage_on_a_cluster_started_here_is_rejected_at_once(mixed: None):
    with pytest.raises(ClusterError, match=r"5 workers need .* room for 2.*; lower --workers"):
        check_room(Scale(workers=5, gpu=True), 8)


def test_a_shortage_on_a_joined_cluster_is_a_warning_of_one_line(
    mixed: None, caplog: pytest.LogCaptureFixture
):
    joined = Scale(workers=5, gpu=True, address="auto")

    assert not check_room(joined, 8)
    assert check_room(Scale(workers=2, gpu=True, address="auto"), 8)

    [line] = caplog.messages
    assert "room for 2" in line and line.endswith("or lower --workers or --cpus-per-worker")


def test_waiting_workers_are_logged_once_and_again_when_placed(
    mixed: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(placement, "WARN_AFTER_S", 0.1)
    monkeypatch.setattr(placement, "POLL_S", 0.02)
    monkeypatch.setattr(ray, "available_resources", lambda: {"CPU": 3.0})
    caplog.set_level(logging.INFO, "train")
    bundles = {0: {"CPU": 8.0, "GPU": 1.0}, 1: {"CPU": 8.0, "GPU": 1.0}}
    table = {"of another run": {"state": "CREATED", "bundles": bundles}}
    monkeypatch.setattr(ray.util, "placement_group_table", lambda: dict(table))

    with warn_while_unplaced(2, 8, gpu=True):
        time.sleep(0.2)  # Ray Train has not requested resources yet
        assert caplog.messages == []
        table["smaller"] = {"state": "CREATED", "bundles": {0: {"CPU": 8.0}}}
        table["first try"] = {"state": "PENDING", "bundles": bundles}
        time.sleep(0.2)
        table["first try"] = {"state": "REMOVED", "bundles": bundles}
        table["second try"] = {"state": "PENDING", "bundles": bundles}
        wait_for_messages(caplog, 1)
        table["second try"] = {"state": "CREATED", "bundles": bundles}
        wait_for_messages(caplog, 2)

    waiting, placed = caplog.messages
    assert "other jobs use the resources" in waiting and "free: 3 CPUs and 0 GPUs; " in waiting
    assert "waiting; add nodes" in waiting
    assert "place" in placed


def wait_for_messages(caplog: pytest.LogCaptureFixture, number: int) -> None:
    until = time.monotonic() + 30
    while len(caplog.messages) < number:
        assert time.monotonic() < until, caplog.messages
        time.sleep(0.02)


class OneTaskPerNode:
    """Stands in for a remote function of Ray; the result of each call is the node itself."""

    def options(self, *, scheduling_strategy: Any) -> "OneTaskPerNode":
        self._node = scheduling_strategy.node_id
        return self

    def remote(self) -> str:
        return self._node


def test_gpus_that_pytorch_does_not_detect_are_rejected_in_one_line(monkeypatch: pytest.MonkeyPatch):
    nodes = [HEAD, *(Node(node_id=name * 56, address=f"10.0.0.{name}", gpus=1) for name in "89")]
    seen = {nodes[1].node_id: (1, ""), nodes[2].node_id: (0, "no driver")}
    monkeypatch.setattr(ray, "remote", lambda **_: lambda function: OneTaskPerNode())
    monkeypatch.setattr(ray, "wait", lambda tasks, **_: (tasks, []))
    monkeypatch.setattr(ray, "get", seen.__getitem__)

    check_gpus(nodes[:2])
    with pytest.raises(RunStoppedError) as error:
        check_gpus(nodes)

    message = str(error.value)
    assert "Ray offers 1 GPU on node 10.0.0.9, but PyTorch sees 0 CUDA devices there (no driver)" in message
    assert "install the NVIDIA driver 580 or newer" in message and "\n" not in message


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_machine_without_cuda_gives_the_reason_in_one_line():
    number, reason = visible_gpus()

    assert number == 0
    assert reason and "\n" not in reason
