"""Run the items of the GPU checklist that must pass: ``python -m pytest -m gpu tests/gpu``.

They run in this process and are skipped without a GPU.
"""

from dataclasses import replace

import pytest
import torch

from bench.gpu import checklist
from bench.gpu.setup import Found, Setup, read_setup

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("default"),  # PyTorch and Python emit more warnings with CUDA
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"),
]


@pytest.fixture
def setup() -> Setup:
    return replace(read_setup("cuda"), train_batch=16, train_steps=10, num_photos=32)


def run(name: str, setup: Setup) -> Found:
    found: Found = {}
    checklist.run_here(name, setup, found.update)
    return found


def test_graphs_of_every_size_replay_plain_computation_also_from_another_thread(setup: Setup):
    found = run("replay", setup)

    assert found["status"] == "passed", found


def test_bfloat16_is_close_to_float32(setup: Setup):
    found = run("bf16", setup)

    assert found["status"] == "passed", found


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one GPU")
def test_the_second_gpu_gives_the_results_of_the_cpu(setup: Setup):
    found = run("second_card", setup)

    assert found["status"] == "passed", found


def test_series_give_the_probabilities_of_the_cpu(setup: Setup):
    found = run("progress", replace(setup, progress_photos=60, measure_s=0.1))

    assert found["status"] == "passed", found


def test_a_training_step_does_not_wait_for_the_gpu(setup: Setup):
    found = run("training", setup)

    assert found["status"] == "passed", found
    assert found["num_waits"] < found["num_steps"], found["waits"]


def test_a_run_on_a_gpu_resumes_on_a_cpu(setup: Setup):
    found = run("resume", setup)

    assert found["status"] == "passed", found
