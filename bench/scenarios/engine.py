"""The engines alone, without a server, by turns.

Command: ``python -m bench.scenarios.engine``. JSON to stdout or ``--out``.

ResNet50 at 224 px with random weights, photos per second at batches of 1, 8 and 32; on a GPU also 256, with
photos that are on the device already, against the same network under ``torch.compile``. The progress network
on a series of 8 photos, against 30 padded steps one by one. Ratios are of medians of turns; beside wall time
stands CPU time, which other processes on the machine disturb less.
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
from torch import Tensor, nn

from models.checkpoint import CheckpointMeta, save_checkpoint
from models.diagnoses import DIAGNOSES
from models.lesion.engine_loader import load_lesion_engine, supported_int8_runtimes
from models.lesion.engines import GpuLesionEngine
from models.lesion.network import LesionNet
from models.lesion.quantization.int8 import activation_names
from models.preprocessing import MEAN, STD, normalize
from models.progress.network import MaskedConvLSTM, PackedIndex, ProgressNet

FLOPS_PER_PHOTO = 8.2e9
"""Of a ResNet50 at 224 px: two for each of 4.1e9 products."""
MAX_STEPS = 30


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is measured, and for how long."""

    input_px: int = 224
    batches: tuple[int, ...] = (1, 8, 32)
    num_threads: int = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
    num_turns: int = 7
    device: str = "cpu"
    out: Path | None = None
    """File for the results."""


def main() -> None:
    """Read the command line, measure, and write the results."""
    import tyro  # here: bench.gpu.checklist does without

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
        result["card"] = torch.cuda.get_device_name(settings.device)
        result["lesion"] = dict(lesion_on_gpu(settings, (*settings.batches, 256)))
    text = json.dumps(result, indent=2)
    print(text)
    if settings.out:
        settings.out.write_text(text + "\n", encoding="utf-8")


def _lesion_on_cpu(settings: Settings) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        meta = write_random(Path(name), settings.input_px)
        engines: dict[str, Any] = {}
        start_s: dict[str, float] = {}
        for runtime in ("pytorch", "onnxruntime", *supported_int8_runtimes()):
            began = time.perf_counter()
            engines[runtime] = load_lesion_engine(
                Path(name), num_threads=settings.num_threads, engine=runtime
            )
            start_s[runtime] = round(time.perf_counter() - began, 2)
    found: dict[str, Any] = {"start_s": start_s}
    for size in settings.batches:
        image = _photos(size, meta.input_px)
        runs = {runtime: partial(engine, image) for runtime, engine in engines.items()}
        found[f"batch {size}"] = _compared(runs, size, settings, reference="pytorch")
    return found


def lesion_on_gpu(settings: Settings, sizes: Sequence[int]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Measure our engine against ``torch.compile``; yield the figures of each batch size when it is done."""
    net = LesionNet(num_diagnoses=len(DIAGNOSES), input_px=settings.input_px).eval()
    plain = LesionNet(num_diagnoses=len(DIAGNOSES), input_px=settings.input_px).eval()
    plain = plain.to(settings.device, torch.bfloat16).to(memory_format=torch.channels_last)
    compiled = torch.compile(plain, mode="max-autotune", dynamic=False)
    engine = GpuLesionEngine(random_meta(settings.input_px), net, settings.device, max_batch_size=max(sizes))
    engine.warm_up()

    def by_compile(image_BHWC: Tensor) -> None:
        with torch.inference_mode():
            image_BCHW = normalize(image_BHWC).bfloat16()
            compiled(image_BCHW.contiguous(memory_format=torch.channels_last))
        torch.cuda.synchronize(settings.device)

    def by_engine(image_BHWC: Tensor) -> None:
        engine.classify_on_device(image_BHWC)
        torch.cuda.synchronize(settings.device)

    for size in sizes:
        image = torch.from_numpy(_photos(size, settings.input_px)).to(settings.device)
        runs = {"torch.compile": partial(by_compile, image), "engine": partial(by_engine, image)}
        figures = _compared(runs, size, settings, reference="torch.compile")
        rate = figures["engine"]["photos_per_s"]
        figures["engine"]["bf16_teraflops"] = round(rate * FLOPS_PER_PHOTO / 1e12, 1)
        yield f"batch {size}", figures


def _progress(settings: Settings) -> dict[str, Any]:
    net = ProgressNet().eval()
    photos = torch.rand(1, MAX_STEPS, 3, net.input_px, net.input_px)
    present = torch.zeros(1, MAX_STEPS, dtype=torch.bool)
    present[:, :8] = True
    index = PackedIndex.of(present)
    with torch.inference_mode():
        expected, found = net(photos, present), net.packed(photos[present], index)
    runs = {
        "30 padded steps one by one": lambda: step_by_step(net, photos, present),
        "30 padded steps": lambda: net(photos, present),
        "present photos": lambda: net.packed(photos[present], index),
    }
    with torch.inference_mode():
        return {
            "largest_difference": float((expected - found).abs().max()),
            **_compared(runs, 8, settings, reference="30 padded steps one by one"),
        }


def step_by_step(net: ProgressNet, photos_BTCHW: Tensor, present_BT: Tensor) -> Tensor:
    """Answer as ``ProgressNet`` does, with every convolution computed step by step."""
    convolutions = [part for part in net.modules() if isinstance(part, MaskedConvLSTM)]
    kept = [part.input_gates for part in convolutions]
    for part, gates in zip(convolutions, kept, strict=True):
        part.input_gates = _OneByOne(gates)  # pyright: ignore[reportAttributeAccessIssue]
    try:
        return net(photos_BTCHW, present_BT)
    finally:
        for part, gates in zip(convolutions, kept, strict=True):
            part.input_gates = gates


class _OneByOne(torch.nn.Module):
    def __init__(self, part: torch.nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, image_NCHW: Tensor) -> Tensor:
        return torch.cat([self.part(one) for one in image_NCHW.split(1)])


def _compared(
    runs: Mapping[str, Callable[[], object]], num_photos: int, settings: Settings, *, reference: str
) -> dict[str, Any]:
    """Photos per second of each, by turns, and how many times those of the reference that is."""
    wall_s: dict[str, list[float]] = {name: [] for name in runs}
    cpu_s: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
        run()
    for _ in range(settings.num_turns):
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
            "times_reference": round(median[reference] / median[name], 2),
            "cpu_ms_per_photo": round(1000 * cpu_median[name] / num_photos, 2),
            "times_reference_by_cpu": round(cpu_median[reference] / cpu_median[name], 2),
        }
        for name in runs
    }


def _photos(num: int, side_px: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (num, side_px, side_px, 3), np.uint8)


def write_random(folder: Path, input_px: int) -> CheckpointMeta:
    """Write a lesion checkpoint of random weights, with ranges for 8 bits."""
    net = random_net(input_px)
    before_sum = (".conv3", ".shortcut")  # the others are behind a ReLU
    ranges = {name: (-4.0 if name.endswith(before_sum) else 0.0, 4.0) for name in activation_names(input_px)}
    return save_checkpoint(folder, net, random_meta(input_px), "", int8_ranges=ranges)


def random_net(input_px: int) -> LesionNet:
    """Return a lesion network with random weights, the same at every call, in which every layer counts.

    A new ``LesionNet`` multiplies its residual branches by 0, so that wrong values in them would not show.
    """
    torch.manual_seed(0)
    net = LesionNet(num_diagnoses=len(DIAGNOSES), input_px=input_px)
    for name, part in net.named_modules():
        if name.endswith("bn3"):
            nn.init.constant_(part.get_parameter("weight"), 0.2)
    return net


def random_meta(input_px: int) -> CheckpointMeta:
    """Return what a checkpoint of random weights says of itself."""
    return CheckpointMeta(
        kind="lesion",
        name="random",
        version="0",
        architecture={"num_diagnoses": len(DIAGNOSES), "input_px": input_px},
        labels=tuple(one.name for one in DIAGNOSES),
        groups={one.name: one.group for one in DIAGNOSES},
        input_px=input_px,
        mean=MEAN,
        std=STD,
        thresholds={"malignant": 0.5, "name_diagnosis": 0.1},
        training={},
        training_data="none: random weights",
        data_fingerprint="",
        data_licence="none",
    )


if __name__ == "__main__":
    main()
