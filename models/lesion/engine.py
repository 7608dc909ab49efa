"""Interface of the inference engines of the lesion network: uint8 photos in, probabilities out.

Importable without torch.

Axes: B photo, H row, W column, C channel, K diagnosis, R risk group.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from models.checkpoint import CheckpointMeta
from models.lesion.runtimes import Runtime
from models.ping import check_finite


@dataclass(frozen=True, kw_only=True)
class LesionOutput:
    """Probabilities of a batch of photos."""

    malignant_B: np.ndarray
    """float32, probability of malignancy."""
    diagnosis_BK: np.ndarray
    """float32, columns in the order of ``meta.labels``; each row sums to 1."""
    scope_B: np.ndarray | None = None
    """float32, probability that the photo shows a lesion that the network can classify.

    None for a checkpoint without a scope head.
    """
    features_BCHW: np.ndarray | None = None
    """float32, the last feature map, on request."""
    grad_cam_RHW: Mapping[int, np.ndarray] = field(default_factory=dict)
    """On request, by index of the photo: float32, 0 to 1, Grad-CAM maps in the order of ``GROUPS``."""


class LesionEngine(ABC):
    """Run one lesion checkpoint, a single network or an ensemble, on one device."""

    runtime: Runtime
    supports_concurrent_calls = True
    """Whether several threads may call it at once; False for engines with threads of their own or a GPU."""

    def __init__(self, meta: CheckpointMeta, device: str) -> None:
        self.meta = meta
        self.device = device

    @property
    def uses_cuda_graphs(self) -> bool | None:
        """Whether batches replay CUDA graphs; None for engines without CUDA graphs."""
        return None

    def __call__(
        self, image_BHWC: np.ndarray, *, features: bool = False, explain: Sequence[int] = ()
    ) -> LesionOutput:
        """Classify a batch.

        Args:
            image_BHWC: uint8, (B, input_px, input_px, 3), RGB, upright.
            features: also return the last feature map of every photo.
            explain: indices of the photos whose Grad-CAM maps are returned.
        """
        side = self.meta.input_px
        if image_BHWC.shape[1:] != (side, side, 3) or image_BHWC.dtype != np.uint8:
            raise ValueError(
                f"got {image_BHWC.dtype} {image_BHWC.shape}, need uint8 (B, {side}, {side}, 3); "
                "decode with models.images.decode_square"
            )
        return self._classify(np.ascontiguousarray(image_BHWC), features, explain)

    def ping(self) -> None:
        """Classify one blank photo; raise if a result is not a probability."""
        side = self.meta.input_px
        output = self(np.zeros((1, side, side, 3), np.uint8))
        check_finite(output.malignant_B)
        check_finite(output.diagnosis_BK)
        if output.scope_B is not None:
            check_finite(output.scope_B)

    @abstractmethod
    def _classify(self, image_BHWC: np.ndarray, features: bool, explain: Sequence[int]) -> LesionOutput:
        """Classify a contiguous batch whose shape and type were checked."""


def has_scope(meta: CheckpointMeta) -> bool:
    """Return whether the network has a scope head."""
    return bool(meta.architecture.get("scope_head"))
