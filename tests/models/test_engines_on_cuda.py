"""The engines on CUDA devices of ``tests/fake_cuda.py``: graphs, copies and waits."""

import logging
from unittest import mock

import numpy as np
import pytest
import torch

from models.cuda_graphs import EngineError
from models.diagnoses import DIAGNOSES
from models.lesion.network import LesionNet
from models.lesion.pytorch_engines import GpuLesionEngine, PyTorchLesionEngine
from models.progress.network import ProgressNet
from models.progress.pytorch_engine import PyTorchProgressEngine
from tests.fake_cuda import FakeCuda
from tests.fake_cuda_graph import FakeGraph
from tests.random_checkpoints import random_meta

LESION_META = random_meta(
    "lesion",
    architecture={},
    labels=tuple(one.name for one in DIAGNOSES[-3:]),
    groups={one.name: one.group for one in DIAGNOSES[-3:]},
)
PROGRESS_META = random_meta("progress", input_px=40)


def lesion_engine(device: str, max_batch_size: int = 4) -> GpuLesionEngine:
    torch.manual_seed(0)
    net = LesionNet(num_diagnoses=3, input_px=64)
    for name, part in net.named_modules():
        if name.endswith("bn3"):  # 0 in a new network, which would hide the residual branches
            torch.nn.init.constant_(part.get_parameter("weight"), 0.2)
    return GpuLesionEngine(LESION_META, net, device, max_batch_size=max_batch_size)


def photos(num: int, seed: int = 1) -> np.ndarray:
    colours = np.random.default_rng(seed).integers(0, 256, (num, 2, 2, 3), np.uint8)
    return colours.repeat(32, axis=1).repeat(32, axis=2)


@pytest.mark.slow  # tests/bench/gpu/test_checklist.py compares graphs with plain computation too
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_graph_of_every_size_gives_the_results_of_plain_computation(device: str):
    batches = [photos(num, seed) for seed, num in enumerate((2, 1, 3, 0, 1))]
    reference = lesion_engine("cpu", max_batch_size=2)
    expected = [reference(batch, features=True) for batch in batches]

    with FakeCuda(num_devices=2):
        engine = lesion_engine(device, max_batch_size=2)
        engine.warm_up()
        found = [engine(batch, features=True, explain=[*range(len(batch))][-1:]) for batch in batches]
        on_device = engine.classify_on_device(torch.from_numpy(batches[2]).to(device))
        assert on_device[0].tolist() == pytest.approx(expected[2].malignant_B.tolist())

    assert engine.uses_cuda_graphs
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.malignant_B, other.malignant_B)
        np.testing.assert_array_equal(one.diagnosis_BK, other.diagnosis_BK)
        np.testing.assert_array_equal(one.features_BCHW, other.features_BCHW)
    assert len({one.malignant_B[0] for one in found if len(one.malignant_B)}) == 4


@pytest.mark.slow
def test_all_sizes_are_captured_in_one_memory_pool_largest_first():
    with (
        FakeCuda() as cuda,
        mock.patch.object(FakeGraph, "replay", autospec=True, side_effect=FakeGraph.replay),
    ):
        engine = lesion_engine("cuda", max_batch_size=3)
        engine.warm_up()
        (pool,) = cuda.pools.values()

    assert [len(graph.tape[0][1]) for graph in pool] == [4, 2, 1]


def test_a_wrong_replay_stops_the_start():
    with FakeCuda(), mock.patch.object(FakeGraph, "replay", lambda graph: None):
        with pytest.raises(EngineError, match=r"batch size 1: .* replay on cuda differs .* engine: pytorch"):
            lesion_engine("cuda", max_batch_size=1).warm_up()


def test_a_failed_capture_is_logged_once_and_batches_run_without_graphs(
    caplog: pytest.LogCaptureFixture,
):
    expected = lesion_engine("cpu", max_batch_size=1)(photos(1))

    with FakeCuda(break_capture="out of streams"), caplog.at_level(logging.WARNING):
        engine = lesion_engine("cuda", max_batch_size=1)
        engine.warm_up()
        found = [engine(photos(1)) for _ in range(2)]

    assert engine.uses_cuda_graphs is False
    assert [record.message for record in caplog.records] == [
        "CUDA graph capture failed on cuda (out of streams); batches run without graphs, small ones slower"
    ]
    for one in found:
        np.testing.assert_array_equal(one.diagnosis_BK, expected.diagnosis_BK)


def test_a_batch_that_exceeds_the_memory_stops_the_start():
    with FakeCuda():
        engine = lesion_engine("cuda")
        with mock.patch.object(engine._runner, "_compute", side_effect=torch.OutOfMemoryError("no memory")):
            with pytest.raises(torch.OutOfMemoryError):
                engine.warm_up()


@pytest.mark.slow
def test_a_failed_capture_restores_the_stream_of_the_caller():
    with FakeCuda(break_capture="capture invalidated"):
        engine, before = lesion_engine("cuda"), torch.cuda.current_stream()
        engine.warm_up()

        assert torch.cuda.current_stream() is before


@pytest.mark.slow
def test_a_batch_costs_one_non_blocking_copy_to_the_gpu_and_one_back():
    with FakeCuda() as cuda:
        engine = lesion_engine("cuda", max_batch_size=2)
        engine.warm_up()
        cuda.events.clear()

        engine(photos(2))

        assert [(event.kind, event.blocking) for event in cuda.events] == [("in", False), ("out", True)]


@pytest.mark.slow
def test_the_scope_is_one_more_column_of_the_same_copy():
    def scope_engine(device: str) -> GpuLesionEngine:
        torch.manual_seed(0)
        net = LesionNet(num_diagnoses=3, input_px=64, scope_head=True)
        meta = LESION_META.model_copy(update={"architecture": {"scope_head": True}})
        return GpuLesionEngine(meta, net, device, max_batch_size=4)

    expected = scope_engine("cpu")(photos(6))
    with FakeCuda() as cuda:
        engine = scope_engine("cuda")
        engine.warm_up()
        cuda.events.clear()
        found = engine(photos(6))
        on_device = engine.classify_on_device(torch.from_numpy(photos(6)).to("cuda"))

    assert expected.scope_B is not None and found.scope_B is not None
    np.testing.assert_array_equal(found.scope_B, expected.scope_B)
    assert found.diagnosis_BK.shape == (6, 3) and tuple(on_device[1].shape) == (6, 3)
    assert [event.kind for event in cuda.events][:4] == ["in", "out", "in", "out"]


@pytest.mark.slow
def test_only_requested_grad_cam_maps_are_copied_back():
    with FakeCuda() as cuda:
        engine = lesion_engine("cuda")
        engine.warm_up()
        cuda.events.clear()

        found = engine(photos(4), explain=[0, 2])

        assert [event.kind for event in cuda.events] == ["in", "out", "out"]
    assert found.grad_cam_RHW.keys() == {0, 2} and found.grad_cam_RHW[2].shape == (2, 4, 4)


def test_a_series_costs_one_copy_to_the_gpu_and_one_back():
    torch.manual_seed(0)
    series = np.random.default_rng(0).integers(0, 256, (3, 5, 40, 40, 3), np.uint8)
    present = np.array([[1, 1, 0, 1, 1], [0, 1, 0, 0, 0], [1, 1, 1, 0, 0]], bool)
    net = ProgressNet(input_px=40)
    expected = PyTorchProgressEngine(PROGRESS_META, net, "cpu")(series, present)

    with FakeCuda() as cuda:
        engine = PyTorchProgressEngine(PROGRESS_META, net, "cuda:0")
        engine(series, present)
        cuda.events.clear()
        found = engine(series, present)

    np.testing.assert_array_equal(found.improved_BT, expected.improved_BT)
    assert [(event.kind, event.blocking) for event in cuda.events] == [("in", False), ("out", True)]


def test_the_reference_disables_tf32_on_a_gpu():
    seen: list[str] = []
    net = LesionNet(num_diagnoses=3, input_px=64)
    net.backbone.conv1.register_forward_pre_hook(
        lambda *_: seen.append(torch.backends.cudnn.conv.fp32_precision)  # pyright: ignore
    )
    before = torch.backends.cudnn.conv.fp32_precision  # pyright: ignore

    with FakeCuda():
        PyTorchLesionEngine(LESION_META, net, "cuda")(photos(1))

    assert seen == ["ieee"]
    assert torch.backends.cudnn.conv.fp32_precision == before  # pyright: ignore
