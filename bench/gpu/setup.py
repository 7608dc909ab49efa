"""Device, sizes, limits and errors of all checklist items."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ROOT = Path(__file__).parents[2]
SERIES_PHOTOS = 30
Result = dict[str, Any]
"""Result of an item in types of JSON."""


class CheckError(RuntimeError):
    """An item computed a wrong answer."""


class SkippedError(RuntimeError):
    """An item cannot run here; the message gives the reason."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Device and sizes of all items."""

    device: str
    lesion_batch: int
    progress_photos: int
    lesion_share: float
    """Of a GPU, like ``progress_share``."""
    progress_share: float
    input_px: int = 224
    train_batch: int = 64
    train_steps: int = 30
    resume_px: int = 64
    num_photos: int = 128
    measure_s: float = 3.0
    """Per rate."""
    compile_batches: tuple[int, ...] = (1, 8, 32, 256)

    @property
    def num_series(self) -> int:
        """Number of series of full length in a batch of the progress network."""
        return self.progress_photos // SERIES_PHOTOS

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a CUDA device."""
        return self.device.startswith("cuda")


SMALL: Result = {
    "lesion_batch": 2,
    "progress_photos": 2 * SERIES_PHOTOS,
    "input_px": 32,
    "train_batch": 2,
    "train_steps": 2,
    "resume_px": 32,
    "num_photos": 3,
    "measure_s": 0.1,
    "compile_batches": (1,),
}
"""Sizes for a rehearsal on a CPU."""


def read_setup(device: str, config: Path = ROOT / "serve" / "gpu.yaml") -> Setup:
    """Read batch sizes and shares of a GPU from the Serve config of a cluster."""
    api = yaml.safe_load(config.read_text(encoding="utf-8"))["applications"][0]
    share = {one["name"]: one["ray_actor_options"].get("num_gpus", 0) for one in api["deployments"]}
    return Setup(
        device=device,
        lesion_batch=api["args"]["lesion"]["max_batch_size"],
        progress_photos=api["args"]["progress"]["max_batch_size"],
        lesion_share=share["LesionClassifier"],
        progress_share=share["ProgressClassifier"],
    )


def check(value: float, limit: float, what: str) -> None:
    """Raise ``CheckError`` if ``value`` is NaN or above ``limit``."""
    if not value <= limit:
        raise CheckError(f"{what}: {value:.3g}, at most {limit:.3g} is allowed")


def relative_error(values: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> float:
    """Return the largest relative error of pairs of arrays, by their norms."""
    return max(
        float(np.linalg.norm(one - other) / max(np.linalg.norm(other), 1e-12))
        for one, other in zip(values, expected, strict=True)
    )
