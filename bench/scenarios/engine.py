"""Photos per second of the engines without a server, interleaved: ``python -m bench.scenarios.engine``.

Lesion: ResNet50 at 224 px with random weights, batches of 1, 8 and 32. On a GPU also 256, with photos on the
device, against the same network under ``torch.compile``. Progress: a series of 8 photos, against 30 padded
steps one by one. Ratios are of medians. CPU time is measured too: other processes disturb it less than wall
time.
"""

import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.random_checkpoint import random_meta, random_net, write_random_checkpoint
from models.lesion.engine_loader import load_lesion_engine, supported_int8_runtimes
from models.lesion.pytorch_engines import GpuLesionEngine
from models.preprocessing import normalize
from models.progress.network import MaskedConvLSTM, PackedIndex, ProgressNet

FLOPS_PER_PHOTO = 8.2e9
"""Of a ResNet50 at 224 px: two for each of 4.1e9 products."""
MAX_STEPS = 30
ONE_BY_ONE = "30 padded steps one by one"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Sizes and number of turns."""

    input_px: int = 224
    batches: tuple[int, ...] = (1, 8, 32)
    num_threads: int = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
    num_turns: int = 7
    device: str = "cpu"
    out: Path | None = None
    """File for the results."""


def main() -> None:
    """Measure, print the results, and write them to ``--out``."""
    import tyro  # here: bench.gpu.checklist runs without it

    settings = tyro.cli(Settings)
    torch.set_num_threads(settings.num_threads)
    result: dict[str, Any] = {
        "machine": platform.processor() or platform.machine(),
        "num_threads": settings.num_threads,
        "device": settings.device,
        "input_px": settings.input_px,
    }
    if settings.device == "cpu":
        result["lesion"] = _lesion_on_cpu(settings)
        result["progress"] = _progress(settings)
    else:
        result["gpu"] = torch.cuda.get_device_name(settings.device)
        result["lesion"] = dict(lesion_on_gpu(settings, (*settings.batches, 256)))
    text = json.dumps(result, indent=2)
    print(text)
    if settings.out:
        settings.out.write_text(text + "\n", encoding="utf-8")


def _lesion_on_cpu(settings: Settings) -> dict[str, Any]:
    engines: dict[str, Any] = {}
    load_s: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = write_random_checkpoint(Path(name), settings.input_px)
        for runtime in ("pytorch", "onnxruntime", *supported_int8_runtimes()):
            began = time.perf_counter()
            engines[runtime] = load_lesion_engine(folder, num_threads=settings.num_threads, engine=runtime)
            load_s[runtime] = round(time.perf_counter() - began, 2)
    metrics: dict[str, Any] = {"load_s": load_s}
    for size in settings.batches:
        image = _photos(size, settings.input_px)
        runs = {runtime: partial(engine, image) for runtime, engine in engines.items()}
        metrics[f"batch {size}"] = _compare(runs, size, settings.num_turns, reference="pytorch")
    return metrics


def lesion_on_gpu(settings: Settings, sizes: Sequence[int]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Measure the GPU engine against ``torch.compile``; yield the metrics of each batch size."""
    net = random_net(settings.input_px).eval()
    engine = GpuLesionEngine(random_meta(settings.input_px), net, settings.device, max_batch_size=max(sizes))
    engine.warm_up()
    reference = random_net(settings.input_px).eval().to(settings.device, torch.bfloat16)
    reference = reference.to(memory_format=torch.channels_last)
    compiled = torch.compile(reference, mode="max-autotune", dynamic=False)

    def run_compiled(image_BHWC: Tensor) -> None:
        with torch.inference_mode():
            image_BCHW = normalize(image_BHWC).bfloat16()
            compiled(image_BCHW.contiguous(memory_format=torch.channels_last))
        torch.cuda.synchronize(settings.device)

    def run_engine(image_BHWC: Tensor) -> None:
        engine.classify_on_device(image_BHWC)
        torch.cuda.synchronize(settings.device)

    for size in sizes:
        image = torch.from_numpy(_photos(size, settings.input_px)).to(settings.device)
        runs = {"torch.compile": partial(run_compiled, image), "engine": partial(run_engine, image)}
        metrics = _compare(runs, size, settings.num_turns, reference="torch.compile")
        rate = metrics["engine"]["photos_per_s"]
        metrics["engine"]["bf16_teraflops"] = round(rate * FLOPS_PER_PHOTO / 1e12, 1)
        yield f"batch {size}", metrics


def _progress(settings: Settings) -> dict[str, Any]:
    net = ProgressNet().eval()
    photos = torch.rand(1, MAX_STEPS, 3, net.input_px, net.input_px)
    present = torch.zeros(1, MAX_STEPS, dtype=torch.bool)
    present[:, :8] = True
    index = PackedIndex.of(present)
    with torch.inference_mode():
        expected, packed = net(photos, present), net.packed(photos[present], index)
        runs = {
            ONE_BY_ONE: lambda: step_by_step(net, photos, present),
            "30 padded steps": lambda: net(photos, present),
            "present photos": lambda: net.packed(photos[present], index),
        }
        return {
            "largest_difference": float((expected - packed).abs().max()),
            **_compare(runs, 8, settings.num_turns, reference=ONE_BY_ONE),
        }


def step_by_step(net: ProgressNet, photos_BTCHW: Tensor, present_BT: Tensor) -> Tensor:
    """Return the output of ``ProgressNet`` with every convolution computed step by step."""
    layers = [part for part in net.modules() if isinstance(part, MaskedConvLSTM)]
    original = [layer.input_gates for layer in layers]
    for layer, gates in zip(layers, original, strict=True):
        layer.input_gates = _OneByOne(gates)  # pyright: ignore[reportAttributeAccessIssue]
    try:
        return net(photos_BTCHW, present_BT)
    finally:
        for layer, gates in zip(layers, original, strict=True):
            layer.input_gates = gates


class _OneByOne(torch.nn.Module):
    def __init__(self, part: torch.nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, image_NCHW: Tensor) -> Tensor:
        return torch.cat([self.part(one) for one in image_NCHW.split(1)])


def _compare(
    runs: Mapping[str, Callable[[], object]], num_photos: int, num_turns: int, *, reference: str
) -> dict[str, Any]:
    """Return photos per second of each run, interleaved, and the speedup over the reference."""
    wall_s: dict[str, list[float]] = {name: [] for name in runs}
    cpu_s: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():  # warm up
        run()
        run()
    for _ in range(num_turns):
        for name, run in runs.items():
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            wall_s[name].append(time.perf_counter() - wall)
            cpu_s[name].append(time.process_time() - cpu)
    median = {name: statistics.median(times) for name, times in wall_s.items()}
    cpu_median = {name: statistics.median(times) for name, times in cpu_s.items()}
    return {
        name: {
            "photos_per_s": round(num_photos / median[name], 2),
            "speedup": round(median[reference] / median[name], 2),
            "cpu_ms_per_photo": round(1000 * cpu_median[name] / num_photos, 2),
            "speedup_by_cpu_time": round(cpu_median[reference] / cpu_median[name], 2),
        }
        for name in runs
    }


def _photos(num: int, side_px: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (num, side_px, side_px, 3), np.uint8)


if __name__ == "__main__":
    main()
