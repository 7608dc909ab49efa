"""Inference engines of the progress network: face crops in, probability of improvement out.

Axes: B series, T photo of a series, H row, W column, C channel, N present photo of any series.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from models.checkpoint import CheckpointError, CheckpointMeta, load_arrays, read_meta_of_kind
from models.onnx_session import cpu_session
from models.ping import check_finite
from models.progress.onnx_graph import progress_graph

Runtime = Literal["onnxruntime", "pytorch"]


@dataclass(frozen=True, kw_only=True)
class ProgressOutput:
    """Probabilities of a batch of series."""

    improved_BT: np.ndarray
    """float32, probability of improved after each photo; an absent photo repeats the value before it."""


class ProgressEngine(ABC):
    """Run one progress checkpoint in float32."""

    runtime: Runtime

    def __init__(self, meta: CheckpointMeta, device: str) -> None:
        self.meta = meta
        self.device = device

    def __call__(self, photos_BTHWC: np.ndarray, present_BT: np.ndarray) -> ProgressOutput:
        """Classify a batch of series of face crops.

        Args:
            photos_BTHWC: uint8, (B, T, input_px, input_px, 3); any values where a photo is absent.
            present_BT: bool, False for a photo without a face and after the end of a series.
        """
        side = self.meta.input_px
        if photos_BTHWC.shape[2:] != (side, side, 3) or photos_BTHWC.dtype != np.uint8:
            raise ValueError(
                f"got {photos_BTHWC.dtype} {photos_BTHWC.shape}, need uint8 (B, T, {side}, {side}, 3)"
            )
        return ProgressOutput(improved_BT=self._improved(photos_BTHWC[present_BT], present_BT))

    def ping(self) -> None:
        """Classify two blank crops; raise if the result is not a probability."""
        side = self.meta.input_px
        check_finite(self(np.zeros((1, 2, side, side, 3), np.uint8), np.ones((1, 2), bool)).improved_BT)

    @abstractmethod
    def _improved(self, photo_NHWC: np.ndarray, present_BT: np.ndarray) -> np.ndarray:
        """Return the probabilities, float32 (B, T), for the present photos of all series in their order."""


class OnnxProgressEngine(ProgressEngine):
    """Compute through ONNX Runtime on a CPU, without torch; several threads may call it at once.

    Raises:
        CheckpointError: the weights do not fit the network.
    """

    runtime = "onnxruntime"

    def __init__(self, meta: CheckpointMeta, weights: dict[str, np.ndarray], num_threads: int) -> None:
        super().__init__(meta, "cpu")
        try:
            self._session = cpu_session(progress_graph(weights, meta).SerializeToString(), num_threads)
            self.ping()  # ONNX Runtime checks some shapes when it computes
        except Exception as error:  # a weight is missing, unknown or has another shape
            raise CheckpointError(
                f"checkpoint {meta.name} {meta.version} does not fit the progress network ({error!r}); "
                "release it again with this code"
            ) from error

    def _improved(self, photo_NHWC: np.ndarray, present_BT: np.ndarray) -> np.ndarray:
        if not len(photo_NHWC):
            return np.full(present_BT.shape, 0.5, np.float32)
        row_BT = np.where(present_BT, np.cumsum(present_BT).reshape(present_BT.shape), 0)
        count_B = present_BT.sum(1)
        inputs = {
            "photo_NHWC": photo_NHWC,
            "first_N": np.repeat(np.cumsum(count_B) - count_B, count_B),
            "row_TB": np.ascontiguousarray(row_BT.T),
        }
        return np.asarray(self._session.run(None, inputs)[0]).T


def load_progress_engine(folder: Path, *, device: str = "cpu", num_threads: int = 1) -> ProgressEngine:
    """Load a progress checkpoint: into ONNX Runtime on a CPU, into PyTorch on a GPU.

    Args:
        num_threads: of one call on a CPU.

    Raises:
        CheckpointError: ``folder`` is no progress checkpoint of this format version.
    """
    meta = read_meta_of_kind(folder, "progress")
    if device == "cpu":
        return OnnxProgressEngine(meta, load_arrays(folder, meta), num_threads)
    from models.progress.pytorch_engine import load_pytorch_engine

    return load_pytorch_engine(folder, meta, device)
