"""``cluster.yaml`` in small, with declared GPUs, on a machine without one: where Ray places what."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

pytestmark = [
    pytest.mark.slow,
    pytest.mark.cluster,
    pytest.mark.skipif(torch.cuda.is_available(), reason="the cluster declares GPUs that must be absent"),
]
ROOT = Path(__file__).parents[2]
TIMEOUT_S = 600
Found = dict[str, Any]


@pytest.fixture(scope="module")
def found() -> Iterator[Found]:
    """What ``tests.gpu_cluster`` found; whatever it leaves running is killed."""
    with tempfile.TemporaryDirectory(prefix="gpus-", dir="/tmp") as folder:  # sockets have short paths
        home = Path(folder)
        with (home / "log.txt").open("w") as log:
            program = subprocess.Popen(
                [sys.executable, "-m", "tests.gpu_cluster", folder], cwd=ROOT, stdout=log, stderr=log
            )
            try:
                program.wait(TIMEOUT_S)
            finally:
                if program.poll() is None:
                    for process in psutil.Process(program.pid).children(recursive=True):
                        process.kill()
                    program.kill()
        assert program.returncode == 0, (home / "log.txt").read_text(encoding="utf-8")
        yield json.loads((home / "found.json").read_text(encoding="utf-8"))


def test_networks_run_on_gpu_nodes_and_everything_else_on_photo_nodes(found: Found):
    replicas = found["serving"]["replicas"]

    for name in ("LesionClassifier", "ProgressClassifier"):
        assert replicas[name] == [["networks", 1], ["networks", 1]]
    assert replicas["FaceDetector"] == [["photos", 1], ["photos", 2]]
    assert sum(number for _, number in replicas["Gateway"]) == 2
    assert {kind for kind, _ in replicas["Gateway"]} == {"photos"}
    assert sum(number for _, number in replicas["Page"]) == 2
    assert {kind for kind, _ in replicas["Page"]} == {"photos"}


def test_the_cluster_answers_over_http(found: Found):
    answer = found["serving"]["answer"]

    assert answer["status"] == 200 and 0 <= answer["body"]["malignant_probability"] <= 1
    assert found["serving"]["page"] == 200


def test_a_third_lesion_network_waits_for_a_gpu_and_serve_says_so(found: Found):
    message = found["serving"]["message"]

    assert "LesionClassifier" in message and "to be scheduled" in message
    assert '"GPU": 0.7' in message.split("total resources available")[0]
    assert "GPU" not in message.split("total resources available")[1]
    assert found["serving"]["replicas_at_the_end"] == found["serving"]["replicas"]


def test_training_on_gpus_that_pytorch_does_not_see_is_refused_in_one_line(found: Found):
    refusal = found["training"]["as_it_is"]

    assert "Ray offers 1 GPU on node" in refusal["error"]
    assert "PyTorch sees 0 CUDA devices there (" in refusal["error"]
    assert "install the NVIDIA driver 580 or newer" in refusal["error"]
    assert "\n" not in refusal["error"] and refusal["log"] == []
    assert refusal["seconds"] < 60


@pytest.mark.parametrize(
    ("run", "line"),
    [
        (
            "five_workers",
            "5 workers need 8 CPUs and 1 GPU each, and the cluster has room for 2: 2 nodes with",
        ),
        (
            "too_many_cpus",
            "2 workers need 9 CPUs and 1 GPU each, and the cluster has no room for one: 2 nodes",
        ),
    ],
)
def test_workers_that_no_node_has_room_for_are_told_of_in_one_line(found: Found, run: str, line: str):
    [told] = found["training"][run]["log"]

    assert told.startswith(line)


def test_two_workers_wait_for_a_gpu_in_use_and_then_train_one_on_each_gpu_node(found: Found):
    trained = found["training"]["trained"]

    waiting, placed = trained["log"]
    assert "other jobs use the resources" in waiting and "; free: 32 CPUs and 1 GPU; " in waiting
    assert placed == "workers placed"
    assert trained["bundles"] == 2 * [{"CPU": 8.0, "GPU": 1.0}]
    assert trained["kinds"] == ["networks", "networks"] and len(set(trained["nodes"])) == 2
    assert trained["epochs"] == [1]
