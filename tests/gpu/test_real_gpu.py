"""Run the items of the GPU checklist that must pass: ``python -m pytest -m gpu tests/gpu``.

They run in this process and are skipped without a GPU.
"""

from dataclasses import replace

import pytest
import torch

from bench.gpu import checklist
from bench.gpu.setup import Result, Setup, read_setup

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("default"),  # PyTorch and Python emit more warnings with CUDA
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"),
]


@pytest.fixture
def setup() -> Setup:
    return replace(read_setup("cuda"), train_batch=16, train_steps=10, num_photos=32)


def run(name: str, setup: Setup) -> Result:
    result: Result = {}
    checklist.run_in_process(name, setup, result.update)
    return result


def test_graphs_of_every_size_replay_plain_computation_also_from_another_thread(setup: Setup):
    result = run("replay", setup)

    assert result["status"] == "passed", result


def test_bfloat16_is_close_to_float32(setup: Setup):
    result = run("bf16", setup)

    assert result["status"] == "passed", result


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one GPU")
def test_the_second_gpu_gives_the_results_of_the_cpu(setup: Setup):
    result = run("second_gpu", setup)

    assert result["status"] == "passed", result


def test_series_give_the_probabilities_of_the_cpu(setup: Setup):
    result = run("progress", replace(setup, progress_photos=60, measure_s=0.1))

    assert result["status"] == "passed", result


def test_a_training_step_does_not_wait_for_the_gpu(setup: Setup):
    result = run("training", setup)

    assert result["status"] == "passed", result
    assert result["num_synchronizations"] < result["num_steps"], result["synchronizations"]


def test_a_run_on_a_gpu_resumes_on_a_cpu(setup: Setup):
    result = run("resume", setup)

    assert result["status"] == "passed", result
