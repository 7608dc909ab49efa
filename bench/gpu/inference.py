"""Checklist items on inference: correct answers and speed of the networks on a GPU.

Each item yields results as soon as it has them, and raises ``CheckError`` if one is wrong.
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.cuda.nccl

from bench.gpu.memory import gib
from bench.gpu.networks import photos_per_s, progress_run, random_engine, random_patterns
from bench.gpu.setup import ROOT, CheckError, Result, Setup, SkippedError, check, relative_error
from bench.random_checkpoint import write_random_checkpoint
from bench.scenarios.engine import Settings, lesion_on_gpu
from models.cuda_graphs import MAX_REPLAY_ERROR
from models.lesion.engine import LesionOutput
from models.lesion.engine_loader import load_lesion_engine
from models.lesion.runtimes import EngineName
from samples.lesion import draw_lesion

PACKAGES = (
    *("pydantic", "safetensors", "httpx", "psutil", "filelock", "pyarrow", "sklearn", "tensorboard"),
    *("ray", "tyro"),
)
MAX_BF16_DIFFERENCE = 0.05
"""Of a probability, bfloat16 against float32."""
MAX_FLOAT32_DIFFERENCE = 1e-3
"""Of a probability, GPU against CPU."""


def environment(setup: Setup) -> Iterator[Result]:
    """Return GPU, driver, versions, and missing packages of other items."""
    yield {
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "num_cpus": os.cpu_count(),
        "missing_packages": [name for name in PACKAGES if importlib.util.find_spec(name) is None],
    }
    if setup.on_gpu:
        gpu = torch.cuda.get_device_properties(setup.device)
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        yield {
            "num_gpus": torch.cuda.device_count(),
            "gpu": gpu.name,
            "capability": f"{gpu.major}.{gpu.minor}",
            "memory_gib": gib(gpu.total_memory),
            "nccl": ".".join(map(str, torch.cuda.nccl.version())),
        }
        yield {"driver": subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0]}


def replay(setup: Setup) -> Iterator[Result]:
    """Compare CUDA graphs of every batch size, in random order and from two threads, with eager mode."""
    engine, eager = random_engine(setup), random_engine(setup)
    engine.warm_up()
    if not engine.uses_cuda_graphs:
        raise CheckError("no CUDA graphs were captured; the log above gives the reason")
    between = [size - 1 for size in engine.sizes if size > 2]
    order = np.random.default_rng(0).permutation([*engine.sizes, *between] * 3)

    def largest_errors() -> dict[int, float]:
        errors: dict[int, float] = {}
        for seed, num in enumerate(order.tolist()):
            photos = random_patterns(num, setup.input_px, seed)
            replayed, expected = (_arrays(one(photos, features=True)) for one in (engine, eager))
            errors[num] = max(relative_error(replayed, expected), errors.get(num, 0))
        return dict(sorted(errors.items()))

    for name, errors in (("main_thread", largest_errors()), ("other_thread", in_thread(largest_errors))):
        yield {f"largest_relative_error_by_batch_{name}": errors}
        check(max(errors.values()), MAX_REPLAY_ERROR, f"replay against eager mode, {name}")


def bf16(setup: Setup) -> Iterator[Result]:
    """Compare the bfloat16 engine, and float32 on the device, with float32 on the CPU."""
    with tempfile.TemporaryDirectory() as scratch:
        random = write_random_checkpoint(Path(scratch), setup.input_px)
        for weights, folder in (("random", random), ("checkpoint", ROOT / "weights" / "lesion")):
            if (folder / "meta.json").is_file():
                yield from _compare_precisions(setup, weights, folder)
            else:
                yield {weights: "skipped: no such checkpoint"}


def _compare_precisions(setup: Setup, weights: str, folder: Path) -> Iterator[Result]:
    limits: dict[EngineName, float] = {
        "pytorch-bf16": MAX_BF16_DIFFERENCE,
        "pytorch": MAX_FLOAT32_DIFFERENCE,
    }
    reference = load_lesion_engine(folder, engine="pytorch")
    drawn = [draw_lesion(seed=i, size_px=reference.meta.input_px) for i in range(setup.num_photos)]
    photos = np.stack([np.asarray(one) for one in drawn])
    expected = reference(photos)
    for name, limit in limits.items():
        engine = load_lesion_engine(
            folder, device=setup.device, engine=name, max_batch_size=setup.lesion_batch
        )
        output = engine(photos)
        changed = output.diagnosis_BK.argmax(1) != expected.diagnosis_BK.argmax(1)
        largest = max(
            float(np.abs(output.malignant_B - expected.malignant_B).max()),
            float(np.abs(output.diagnosis_BK - expected.diagnosis_BK).max()),
        )
        metrics = {"largest_difference": largest, "changed_first_diagnoses": float(changed.mean())}
        yield {f"{weights} weights, {name}, {len(photos)} photos": metrics}
        check(largest, limit, f"{weights} weights, {name}: difference of a probability")


def progress(setup: Setup) -> Iterator[Result]:
    """Classify series on the CPU and on the device; compare probabilities and photos per second."""
    for num in sorted({1, setup.num_series}):
        improved: list[np.ndarray] = []
        for device in ("cpu", setup.device):
            run, num_photos = progress_run(device, num)
            improved.append(run().improved_BT)
            rate = photos_per_s(run, num_photos, setup.measure_s)
            yield {f"photos_per_s_of_{num}_series_{device}": rate}
        largest = float(np.abs(improved[0] - improved[1]).max())
        yield {f"largest_difference_of_{num}_series": largest}
        check(largest, MAX_FLOAT32_DIFFERENCE, "difference of a probability")


def second_gpu(setup: Setup) -> Iterator[Result]:
    """Compare ``cuda:1`` with the CPU in bfloat16."""
    if torch.cuda.device_count() < 2:
        raise SkippedError("one GPU")
    engine, reference = (random_engine(replace(setup, device=device)) for device in ("cuda:1", "cpu"))
    engine.warm_up()
    for seed in range(3):
        photos = random_patterns(2, setup.input_px, seed)
        output, expected = (_arrays(one(photos, features=True)) for one in (engine, reference))
        error = relative_error(output, expected)
        yield {f"relative_error_{seed}": error}
        check(error, 2 * MAX_REPLAY_ERROR, "cuda:1 against the CPU")  # with other kernels
    yield {"uses_cuda_graphs": engine.uses_cuda_graphs}


def compiled(setup: Setup) -> Iterator[Result]:
    """Measure the lesion engine against ``torch.compile``, by batch size."""
    settings = Settings(input_px=setup.input_px, device=setup.device)
    for name, metrics in lesion_on_gpu(settings, setup.compile_batches):
        yield {name: metrics}


def _arrays(output: LesionOutput) -> list[np.ndarray]:
    assert output.features_BCHW is not None
    return [output.malignant_B, output.diagnosis_BK, output.features_BCHW]


def in_thread(call: Callable[[], Any]) -> Any:
    """Run ``call`` in another thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()
