"""The GPU checklist on a CPU, and in this process on a fake of CUDA."""

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

from bench.gpu import checklist, inference, memory
from bench.gpu.setup import SMALL, Result, read_setup
from serve.runtime.gpu_memory import HEADROOM
from tests.fake_cuda import FakeCuda
from tests.fake_cuda_graph import FakeGraph
from tests.fake_cuda_tensor import DeviceCalls

SETUP = replace(read_setup("cuda"), **SMALL)


def run(name: str) -> Result:
    result: Result = {}
    checklist.run_in_process(name, SETUP, result.update)
    return result


def in_thread(call: Callable[[], Any]) -> Any:
    """Run in a thread like ``inference.in_thread``, with the fake enabled in that thread."""

    def with_fake() -> Any:
        with DeviceCalls():
            return call()

    return original_in_thread(with_fake)


original_in_thread = inference.in_thread


@pytest.fixture
def cuda() -> Iterator[FakeCuda]:
    with contextlib.ExitStack() as stack:
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(1)  # ten times faster with small batches
        cuda = stack.enter_context(FakeCuda(num_devices=2))
        stack.enter_context(mock.patch.object(inference, "in_thread", in_thread))
        for name in ("set_sync_debug_mode", "reset_peak_memory_stats"):
            stack.enter_context(mock.patch.object(torch.cuda, name))
        for name in ("max_memory_allocated", "max_memory_reserved"):
            stack.enter_context(mock.patch.object(torch.cuda, name, return_value=2**30))
        stack.enter_context(mock.patch.object(torch.cuda, "mem_get_info", return_value=(2**30, 2**31)))
        stack.enter_context(mock.patch.object(torch, "compile", lambda net, **_: net))
        yield cuda


SLOW_ITEMS = ["bf16", "training", "resume", "progress", "second_gpu", "compile"]


@pytest.mark.parametrize(
    "name",
    ["replay", *(pytest.param(name, marks=pytest.mark.slow) for name in ("memory", *SLOW_ITEMS))],
)
def test_an_item_passes_on_fake_cuda(name: str, cuda: FakeCuda):
    result = run(name)

    assert result.pop("status") == "passed", result
    assert json.dumps(result) != "{}"


def test_wrong_graphs_fail_in_one_line(cuda: FakeCuda):
    with mock.patch.object(FakeGraph, "replay", lambda graph: None):
        result = run("replay")

    assert result["status"] == "failed"
    assert result["error"].startswith("EngineError: batch size 1: CUDA graph replay on cuda differs")
    assert "models/cuda_graphs.py:" in result["error"] and "\n" not in result["error"]


@pytest.mark.slow
def test_noise_in_one_residual_convolution_fails_the_replay(cuda: FakeCuda):
    engines: list[Any] = []
    original = inference.random_engine

    def with_noise(setup: Any) -> Any:
        engine = original(setup)
        engines.append(engine)
        if len(engines) == 2:
            with torch.no_grad():
                weight: Any = engine._net.get_parameter("backbone.layer2.1.conv2.weight")
                weight.host.normal_()
        return engine

    with mock.patch.object(inference, "random_engine", with_noise):
        result = run("replay")

    assert result["status"] == "failed" and "replay against eager mode" in result["error"]


def test_memory_headroom_is_that_of_the_server():
    assert memory.MEMORY_HEADROOM == HEADROOM
    assert SETUP.lesion_share + SETUP.progress_share <= 1


@pytest.mark.slow
def test_the_command_runs_without_ray_and_tyro_and_writes_all_results(tmp_path: Path):
    for name in ("ray", "tyro"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('not installed here')\n")
    out = tmp_path / "gpu.json"
    names = ["environment", "replay", "ddp", "sharing"]

    done = subprocess.run(
        [sys.executable, "-m", "bench.gpu.checklist", "--device", "cpu", "--small", "--out", out, *names],
        cwd=inference.ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        timeout=590,
    )

    results = json.loads(out.read_text())
    assert [results[name]["status"] for name in names] == [
        "passed",
        "skipped: needs CUDA",
        "passed",
        "passed",
    ]
    assert done.returncode == 0
    conditions, *lines = map(json.loads, done.stdout.splitlines())
    assert conditions == results["conditions"] and conditions["settings"]["device"] == "cpu"
    assert [line["item"] for line in lines] == names


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.parametrize("name", ["serving", "training_run", "scoring"])
def test_an_item_under_ray_passes_on_a_cpu(name: str):
    result = checklist.run_in_child(name, replace(SETUP, device="cpu"), 590)

    assert result["status"] == "passed", result


def test_an_item_is_stopped_at_its_time_limit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(checklist.ITEMS, "sharing", replace(checklist.ITEMS["sharing"], limit_s=1))

    result = checklist.run_in_child("sharing", replace(SETUP, device="cpu"), 1)

    assert result["status"] == "failed"
    assert result["error"] == "stopped after 1 s; run this item alone"
    assert result["seconds"] < 10


def test_an_item_stopped_by_the_total_time_limit_is_skipped():
    result = checklist.run_in_child("sharing", replace(SETUP, device="cpu"), 1)

    assert result["status"] == "skipped: stopped after 1 s, the rest of --limit-s; run it alone"
    assert "error" not in result


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--device", "tpu"], "--device is tpu, must be cpu, cuda or cuda:N"),
        (["--device", "cpu", "--limit-s", "0"], "--limit-s is 0, must be above 0"),
        (["--device", "cpu", "--out", "/no/such/folder/x.json"], "its folder does not exist; create it"),
        (["--device", "cuda"], r"sees no CUDA device \(.+\); install the NVIDIA driver 580 or newer"),
        (["nope"], "unknown item nope"),
    ],
)
def test_invalid_options_are_rejected(
    options: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    if options[-1] == "cuda" and torch.cuda.is_available():
        pytest.skip("PyTorch sees a GPU")
    monkeypatch.setattr(sys, "argv", ["checklist", *options])

    with pytest.raises(SystemExit, match="2"):
        checklist.main()

    assert re.search(message, capsys.readouterr().err)


def test_a_missing_package_skips_its_items(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "train.loop", None)  # as if it were missing

    assert run("training")["status"] == "skipped: needs train.loop, which is not installed"
