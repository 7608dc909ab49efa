"""Items of ``bench.gpu.checklist`` on inference: right answers, memory and speed of the networks on a GPU.

Each yields what it finds as soon as it has it, and raises ``CheckError`` if that is wrong.
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.cuda.nccl

from bench.child_processes import receive, start
from bench.gpu.setup import ROOT, SERIES_PHOTOS, CheckError, Found, Setup, SkippedError, check, difference
from bench.scenarios.engine import Settings, lesion_on_gpu, random_meta, random_net, write_random
from models.cuda_graphs import MAX_REPLAY_ERROR
from models.lesion.engine_loader import load_lesion_engine
from models.lesion.engines import GpuLesionEngine, LesionOutput
from models.lesion.runtimes import EngineName
from models.progress.engine import load_progress_engine
from samples.face import draw_face
from samples.lesion import draw_lesion

PACKAGES = ("pydantic", "safetensors", "facenet_pytorch", "filelock", "pyarrow", "sklearn", "tensorboard")
MEMORY_HEADROOM = 0.9
"""As in serve.runtime.gpu_memory, which needs Ray."""
MAX_BF16_DIFFERENCE = 0.05
"""Of a probability, bfloat16 against float32."""
MAX_FLOAT32_DIFFERENCE = 1e-3
"""Of a probability, GPU against CPU."""
MAX_BOX_DIFFERENCE_PX = 1.0


def environment(setup: Setup) -> Iterator[Found]:
    """Name the card, the driver, the versions, and the packages that other items lack here."""
    yield {
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "num_cpus": os.cpu_count(),
        "missing_packages": [name for name in PACKAGES if importlib.util.find_spec(name) is None],
    }
    if setup.on_gpu:
        card = torch.cuda.get_device_properties(setup.device)
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        yield {
            "num_cards": torch.cuda.device_count(),
            "card": card.name,
            "capability": f"{card.major}.{card.minor}",
            "memory_gib": _gib(card.total_memory),
            "nccl": ".".join(map(str, torch.cuda.nccl.version())),
        }
        yield {"driver": subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0]}


def replay(setup: Setup) -> Iterator[Found]:
    """Compare CUDA graphs of every size, in random order and from two threads, with plain computation."""
    engine, plain = random_engine(setup), random_engine(setup)
    engine.warm_up()
    if not engine.uses_cuda_graphs:
        raise CheckError("no CUDA graphs were recorded; the log above says why")
    between = [size - 1 for size in engine.sizes if size > 2]
    order = np.random.default_rng(0).permutation([*engine.sizes, *between] * 3)

    def errors() -> dict[int, float]:
        found: dict[int, float] = {}
        for seed, num in enumerate(order.tolist()):
            photos = patterns(num, setup.input_px, seed)
            answers, expected = (_arrays(one(photos, features=True)) for one in (engine, plain))
            found[num] = max(difference(answers, expected), found.get(num, 0))
        return dict(sorted(found.items()))

    for name, found in (("main_thread", errors()), ("other_thread", in_thread(errors))):
        yield {f"largest_relative_error_by_batch_{name}": found}
        check(max(found.values()), MAX_REPLAY_ERROR, f"replay against computation, {name}")


def bf16(setup: Setup) -> Iterator[Found]:
    """Compare the bfloat16 engine, and float32 on the device, with float32 on the CPU."""
    limits: dict[EngineName, float] = {
        "pytorch-bf16": MAX_BF16_DIFFERENCE,
        "pytorch": MAX_FLOAT32_DIFFERENCE,
    }
    with tempfile.TemporaryDirectory() as scratch:
        write_random(Path(scratch), setup.input_px)
        for weights, folder in (("random", Path(scratch)), ("checkpoint", ROOT / "weights" / "lesion")):
            if not (folder / "meta.json").is_file():
                yield {weights: "skipped: there is none"}
                continue
            reference = load_lesion_engine(folder, engine="pytorch")
            side_px = reference.meta.input_px
            photos = np.stack(
                [np.asarray(draw_lesion(seed=i, size_px=side_px)) for i in range(setup.num_photos)]
            )
            expected = reference(photos)
            for name, limit in limits.items():
                engine = load_lesion_engine(
                    folder, device=setup.device, engine=name, max_batch_size=setup.lesion_batch
                )
                found = engine(photos)
                changed = found.diagnosis_BK.argmax(1) != expected.diagnosis_BK.argmax(1)
                largest = max(
                    float(np.abs(found.malignant_B - expected.malignant_B).max()),
                    float(np.abs(found.diagnosis_BK - expected.diagnosis_BK).max()),
                )
                figures = {"largest_difference": largest, "changed_first_diagnoses": float(changed.mean())}
                yield {f"{weights} weights, {name}, {len(photos)} photos": figures}
                check(largest, limit, f"{weights} weights, {name}: difference of a probability")


def memory(setup: Setup) -> Iterator[Found]:
    """Measure the GPU memory of both networks, after warm-up and at the peak of each batch size."""
    yield {"free_gib_before": _gib(torch.cuda.mem_get_info(setup.device)[0])}
    engine = random_engine(setup)
    engine.warm_up()
    yield {"lesion after warm-up": _peak(setup)}
    for size in engine.sizes:
        photos = patterns(size, setup.input_px, size)
        yield {f"lesion, {size} photos": _peak(setup, lambda photos=photos: engine(photos))}
    for num in sorted({1, setup.num_series}):
        run, num_photos = progress_run(setup.device, num)
        yield {f"lesion loaded, progress, {num} series, {num_photos} photos": _peak(setup, run)}
    yield {"free_gib_after": _gib(torch.cuda.mem_get_info(setup.device)[0])}


def _peak(setup: Setup, run: Callable[[], Any] | None = None) -> Found:
    if run:
        torch.cuda.reset_peak_memory_stats(setup.device)
        run()
    return {
        "peak_allocated_gib": _gib(torch.cuda.max_memory_allocated(setup.device)),
        "peak_reserved_gib": _gib(torch.cuda.max_memory_reserved(setup.device)),
    }


def _gib(num_bytes: int) -> float:
    return round(num_bytes / 2**30, 3)


def sharing(setup: Setup) -> Iterator[Found]:
    """Run two lesion processes and a progress process on one card, alone and together, each with its memory.

    The two lesion processes share what gpu.yaml gives to one.
    """
    shares = {
        "lesion 1": setup.lesion_share / 2,
        "lesion 2": setup.lesion_share / 2,
        "progress": setup.progress_share,
    }
    pipes = {name: start(_replica, name, share, setup)[1] for name, share in shares.items()}
    yield {"memory_fractions": {name: MEMORY_HEADROOM * share for name, share in shares.items()}}
    for pipe in pipes.values():
        receive(pipe)  # loaded and warm
    for names in (["lesion 1"], ["progress"], ["lesion 1", "progress"], [*pipes]):
        for name in names:
            pipes[name].send(setup.measure_s)
        yield {" + ".join(names): {name: receive(pipes[name]) for name in names}}
    for pipe in pipes.values():
        pipe.send(None)


def _replica(pipe: Connection, name: str, share: float, setup: Setup) -> None:
    """Load a network within its share of memory; measure photos per second for each duration received."""
    if setup.on_gpu:
        torch.cuda.set_per_process_memory_fraction(MEMORY_HEADROOM * share, torch.device(setup.device).index)
    else:
        torch.set_num_threads(1)
    if name == "progress":
        run, num = progress_run(setup.device, setup.num_series)
    else:
        engine, num = random_engine(setup), setup.lesion_batch
        engine.warm_up()
        run = partial(engine, patterns(num, setup.input_px, 0))
    run()
    pipe.send("ready")
    for measure_s in iter(pipe.recv, None):
        figures: Found = {"photos_per_s": rate(run, num, measure_s)}
        if setup.on_gpu:
            figures["peak_reserved_gib"] = _gib(torch.cuda.max_memory_reserved(setup.device))
        pipe.send(figures)


def faces(setup: Setup) -> Iterator[Found]:
    """Find faces on the CPU and on the device; compare boxes and photos per second."""
    from models.face.detector import MtcnnFaceDetector  # here: needs facenet_pytorch

    drawn = [
        draw_face(num_lesions=9, redness=0.5, seed=i, size_px=setup.face_px) for i in range(setup.num_faces)
    ]
    photos = [np.asarray(one) for one in drawn]
    boxes: dict[str, list[Any]] = {}
    for device in ("cpu", setup.device):
        detector = MtcnnFaceDetector(device=device, max_batch_size=setup.face_batch)
        boxes[device] = [found and found.box for found in detector.detect(photos)]
        per_s = rate(lambda detector=detector: detector.detect(photos), len(photos), setup.measure_s)
        yield {f"photos_per_s_{device}": per_s}
    pairs = list(zip(boxes["cpu"], boxes[setup.device], strict=True))
    both = [np.abs(np.subtract(one, other)).max() for one, other in pairs if one and other]
    yield {"num_found_by_both": len(both), "largest_difference_px": float(max(both, default=0))}
    if any((one is None) != (other is None) for one, other in pairs) or not both:
        raise CheckError("the device finds other faces than the CPU, or none")
    check(float(max(both)), MAX_BOX_DIFFERENCE_PX, "difference of a box in pixels")


def progress(setup: Setup) -> Iterator[Found]:
    """Classify series on the CPU and on the device; compare probabilities and photos per second."""
    for num in sorted({1, setup.num_series}):
        answers = []
        for device in ("cpu", setup.device):
            run, num_photos = progress_run(device, num)
            answers.append(run().improved_BT)
            yield {f"photos_per_s_of_{num}_series_{device}": rate(run, num_photos, setup.measure_s)}
        largest = float(np.abs(answers[0] - answers[1]).max())
        yield {f"largest_difference_of_{num}_series": largest}
        check(largest, MAX_FLOAT32_DIFFERENCE, "difference of a probability")


def second_card(setup: Setup) -> Iterator[Found]:
    """Compare the answers of ``cuda:1`` with those of the CPU in bfloat16."""
    if torch.cuda.device_count() < 2:
        raise SkippedError("one card")
    engine, plain = (random_engine(replace(setup, device=device)) for device in ("cuda:1", "cpu"))
    engine.warm_up()
    for seed in range(3):
        photos = patterns(2, setup.input_px, seed)
        found, expected = (one(photos, features=True) for one in (engine, plain))
        error = difference(_arrays(found), _arrays(expected))
        yield {f"relative_error_{seed}": error}
        check(error, 2 * MAX_REPLAY_ERROR, "cuda:1 against the CPU")  # whose kernels are others
    yield {"uses_cuda_graphs": engine.uses_cuda_graphs}


def compiled(setup: Setup) -> Iterator[Found]:
    """Measure the lesion engine against ``torch.compile``, batch size by batch size."""
    settings = Settings(input_px=setup.input_px, device=setup.device)
    for name, figures in lesion_on_gpu(settings, setup.compile_batches):
        yield {name: figures}


def _arrays(found: LesionOutput) -> list[np.ndarray]:
    assert found.features_BCHW is not None
    return [found.malignant_B, found.diagnosis_BK, found.features_BCHW]


def random_engine(setup: Setup) -> GpuLesionEngine:
    """Return the bfloat16 engine of a random network, the same at every call, not warmed up."""
    meta, net = random_meta(setup.input_px), random_net(setup.input_px)
    return GpuLesionEngine(meta, net, setup.device, max_batch_size=setup.lesion_batch)


def patterns(num: int, side_px: int, seed: int) -> np.ndarray:
    """Draw coarse random patterns, uint8 (num, side_px, side_px, 3); the features of noise hardly differ."""
    coarse = np.random.default_rng([seed, num]).integers(0, 256, (num, 4, 4, 3), np.uint8)
    return coarse.repeat(side_px // 4, axis=1).repeat(side_px // 4, axis=2)


def progress_run(device: str, num: int) -> tuple[Callable[[], Any], int]:
    """Return a call that classifies ``num`` drawn series, and the number of their photos."""
    engine = load_progress_engine(ROOT / "weights" / "progress", device=device)
    side = engine.meta.input_px
    drawn = [draw_face(num_lesions=t, redness=t / 30, seed=1, size_px=side) for t in range(SERIES_PHOTOS)]
    series = np.stack([np.stack([np.asarray(one) for one in drawn])] * num)
    present = np.random.default_rng(0).random(series.shape[:2]) < 0.9
    return lambda: engine(series, present), int(present.sum())


def rate(run: Callable[[], Any], num_photos: int, measure_s: float) -> float:
    """Return photos per second of calls that end when their answers are in host memory."""
    run()
    started, calls = time.perf_counter(), 0
    while calls == 0 or time.perf_counter() < started + measure_s:
        run()
        calls += 1
    return round(num_photos * calls / (time.perf_counter() - started), 1)


def in_thread(call: Callable[[], Any]) -> Any:
    """Run ``call`` in another thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()
