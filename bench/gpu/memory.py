"""Checklist items on GPU memory, and on networks that share a GPU."""

from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import torch

from bench.child_processes import receive, start
from bench.gpu.networks import photos_per_s, progress_run, random_engine, random_patterns
from bench.gpu.setup import Result, Setup

MEMORY_HEADROOM = 0.9
"""As in ``serve.runtime.gpu_memory``, which needs Ray."""


def memory(setup: Setup) -> Iterator[Result]:
    """Measure the GPU memory of both networks after warm-up and at the peak of each batch size."""
    yield {"free_gib_before": gib(torch.cuda.mem_get_info(setup.device)[0])}
    engine = random_engine(setup)
    engine.warm_up()
    yield {"lesion after warm-up": _peak(setup)}
    for size in engine.sizes:
        photos = random_patterns(size, setup.input_px, size)
        yield {f"lesion, {size} photos": _peak(setup, lambda photos=photos: engine(photos))}
    for num in sorted({1, setup.num_series}):
        run, num_photos = progress_run(setup.device, num)
        yield {f"lesion loaded, progress, {num} series, {num_photos} photos": _peak(setup, run)}
    yield {"free_gib_after": gib(torch.cuda.mem_get_info(setup.device)[0])}


def _peak(setup: Setup, run: Callable[[], Any] | None = None) -> Result:
    if run:
        torch.cuda.reset_peak_memory_stats(setup.device)
        run()
    return {
        "peak_allocated_gib": gib(torch.cuda.max_memory_allocated(setup.device)),
        "peak_reserved_gib": gib(torch.cuda.max_memory_reserved(setup.device)),
    }


def gib(num_bytes: int) -> float:
    """Return a size in GiB, rounded."""
    return round(num_bytes / 2**30, 3)


def sharing(setup: Setup) -> Iterator[Result]:
    """Measure two lesion processes and a progress process on one GPU, alone and together.

    The two lesion processes share the fraction that gpu.yaml gives to one.
    """
    shares = {
        "lesion 1": setup.lesion_share / 2,
        "lesion 2": setup.lesion_share / 2,
        "progress": setup.progress_share,
    }
    pipes = {name: start(_replica, name, share, setup)[1] for name, share in shares.items()}
    yield {"memory_fractions": {name: MEMORY_HEADROOM * share for name, share in shares.items()}}
    for pipe in pipes.values():
        receive(pipe)  # loaded and warmed up
    for names in (["lesion 1"], ["progress"], ["lesion 1", "progress"], [*pipes]):
        for name in names:
            pipes[name].send(setup.measure_s)
        yield {" + ".join(names): {name: receive(pipes[name]) for name in names}}
    for pipe in pipes.values():
        pipe.send(None)


def _replica(pipe: Connection, name: str, share: float, setup: Setup) -> None:
    """Load a network within its fraction of memory; measure its rate for each duration received."""
    if setup.on_gpu:
        torch.cuda.set_per_process_memory_fraction(MEMORY_HEADROOM * share, torch.device(setup.device).index)
    else:
        torch.set_num_threads(1)
    if name == "progress":
        run, num = progress_run(setup.device, setup.num_series)
    else:
        engine, num = random_engine(setup), setup.lesion_batch
        engine.warm_up()
        run = partial(engine, random_patterns(num, setup.input_px, 0))
    run()
    pipe.send("ready")
    for measure_s in iter(pipe.recv, None):
        result: Result = {"photos_per_s": photos_per_s(run, num, measure_s)}
        if setup.on_gpu:
            result["peak_reserved_gib"] = gib(torch.cuda.max_memory_reserved(setup.device))
        pipe.send(result)
