"""Networks and inputs of the checklist items on inference."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.gpu.setup import ROOT, SERIES_PHOTOS, Setup
from bench.random_checkpoint import random_meta, random_net
from models.checkpoint import read_meta
from models.lesion.pytorch_engines import GpuLesionEngine
from models.progress.pytorch_engine import load_pytorch_engine
from samples.face import draw_face


def random_engine(setup: Setup) -> GpuLesionEngine:
    """Return the bfloat16 engine of a random network, the same at each call, not warmed up."""
    meta, net = random_meta(setup.input_px), random_net(setup.input_px)
    return GpuLesionEngine(meta, net, setup.device, max_batch_size=setup.lesion_batch)


def random_patterns(num: int, side_px: int, seed: int) -> np.ndarray:
    """Return coarse random patterns, uint8 (num, side_px, side_px, 3).

    The features of pixel noise hardly differ between images.
    """
    coarse = np.random.default_rng([seed, num]).integers(0, 256, (num, 4, 4, 3), np.uint8)
    return coarse.repeat(side_px // 4, axis=1).repeat(side_px // 4, axis=2)


def progress_run(device: str, num: int) -> tuple[Callable[[], Any], int]:
    """Return a call that classifies ``num`` drawn series, and the number of their photos."""
    folder = ROOT / "weights" / "progress"
    engine = load_pytorch_engine(folder, read_meta(folder), device)
    side = engine.meta.input_px
    drawn = [draw_face(num_lesions=t, redness=t / 30, seed=1, size_px=side) for t in range(SERIES_PHOTOS)]
    series = np.stack([np.stack([np.asarray(one) for one in drawn])] * num)
    present = np.random.default_rng(0).random(series.shape[:2]) < 0.9
    return lambda: engine(series, present), int(present.sum())


def photos_per_s(run: Callable[[], Any], num_photos: int, measure_s: float) -> float:
    """Return photos per second of calls that end when their results are in host memory."""
    run()
    began, calls = time.perf_counter(), 0
    while calls == 0 or time.perf_counter() < began + measure_s:
        run()
        calls += 1
    return round(num_photos * calls / (time.perf_counter() - began), 1)
