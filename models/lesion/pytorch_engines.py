"""Inference engines of the lesion network through PyTorch, on a CPU or a GPU.

Axes: B photo, H row, W column, C channel, K diagnosis, R risk group, X column of several outputs.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from models.checkpoint import CheckpointMeta
from models.cuda_graphs import CudaGraphRunner
from models.diagnoses import GROUPS
from models.inference import ieee_float32
from models.lesion.engine import LesionEngine, LesionOutput, has_scope
from models.lesion.network import LesionNet, fold_batch_norm
from models.lesion.networks import AnyLesionNet, SingleLesionNet
from models.lesion.quantization.int8 import CalibrationRanges, Weights
from models.lesion.quantization.onednn import Int8Backbone
from models.lesion.quantization.onednn_small import SmallInt8Backbone
from models.preprocessing import normalize

GPU_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Batches on a GPU are padded to the next of these sizes; each size has its own CUDA graph."""

_Net = TypeVar("_Net", bound=nn.Module)


class PyTorchEngine(LesionEngine):
    """Hold a network, or its heads, in PyTorch."""

    def __init__(self, meta: CheckpointMeta, net: AnyLesionNet, device: str) -> None:
        super().__init__(meta, device)
        self._net = net.to(device).to(memory_format=torch.channels_last).eval()

    @torch.inference_mode()
    def __call__(
        self, image_BHWC: np.ndarray, *, features: bool = False, explain: Sequence[int] = ()
    ) -> LesionOutput:
        """Classify a batch, without autograd."""
        return super().__call__(image_BHWC, features=features, explain=explain)

    def _output(self, features_BCHW: Tensor, features: bool, explain: Sequence[int]) -> LesionOutput:
        """Run the heads on the last feature map."""
        logits = self._net.classify(features_BCHW)
        return LesionOutput(
            malignant_B=logits.risk_BR.softmax(1)[:, GROUPS.index("malignant")].cpu().numpy(),
            diagnosis_BK=logits.diagnosis_BK.softmax(1).cpu().numpy(),
            scope_B=None if logits.scope_B is None else logits.scope_B.sigmoid().cpu().numpy(),
            features_BCHW=features_BCHW.contiguous().cpu().numpy() if features else None,
            grad_cam_RHW=self._grad_cam(features_BCHW, explain),
        )

    def _grad_cam(self, features_BCHW: Tensor, explain: Sequence[int]) -> dict[int, np.ndarray]:
        if not explain:
            return {}
        maps = torch.stack([self._net.risk_grad_cam(features_BCHW[index].float()) for index in explain])
        return dict(zip(explain, maps.cpu().numpy(), strict=True))


class PyTorchLesionEngine(PyTorchEngine):
    """Compute in float32 through eager PyTorch; the reference of all other engines."""

    runtime = "pytorch"

    def _classify(self, image_BHWC: np.ndarray, features: bool, explain: Sequence[int]) -> LesionOutput:
        with ieee_float32(self.device):
            image_BCHW = normalize(
                torch.from_numpy(image_BHWC).to(self.device), self.meta.mean, self.meta.std
            )
            features_BCHW = self._net.features(image_BCHW.contiguous(memory_format=torch.channels_last))
            return self._output(features_BCHW, features, explain)


class OnednnLesionEngine(PyTorchEngine):
    """Compute the backbone of a single network in int8 by oneDNN on a CPU, the heads in float32."""

    runtime = "onednn-int8"

    def __init__(self, meta: CheckpointMeta, net: SingleLesionNet, ranges: CalibrationRanges) -> None:
        backbone = Int8Backbone if isinstance(net, LesionNet) else SmallInt8Backbone
        self._backbone = backbone(_weights_of(net), meta, ranges)
        super().__init__(meta, _without_backbone(net), "cpu")

    def _classify(self, image_BHWC: np.ndarray, features: bool, explain: Sequence[int]) -> LesionOutput:
        return self._output(self._backbone(torch.from_numpy(image_BHWC)), features, explain)


class GpuLesionEngine(PyTorchEngine):
    """Compute in bfloat16 on a GPU by CUDA graphs, batch norm folded; the heads compute in float32.

    A batch is padded to one of ``sizes`` and replayed as a CUDA graph; a batch above the largest size is
    split. Each part costs one copy to the device and one back; Grad-CAM maps cost one more copy back. On a
    CPU, for tests, there are no graphs.
    """

    runtime = "pytorch-bf16"
    supports_concurrent_calls = False

    def __init__(
        self,
        meta: CheckpointMeta,
        net: AnyLesionNet,
        device: str,
        *,
        max_batch_size: int = 64,
    ) -> None:
        for part in net.modules():
            if isinstance(part, SingleLesionNet):
                fold_batch_norm(part.backbone.eval())
                part.backbone.bfloat16()
        super().__init__(meta, net, device)
        self._has_scope = has_scope(meta)
        self.sizes = gpu_batch_sizes(max_batch_size)
        self._runner = CudaGraphRunner(self._compute, (meta.input_px, meta.input_px, 3), self.sizes, device)

    @property
    def uses_cuda_graphs(self) -> bool | None:
        """Whether batches replay CUDA graphs; None on a CPU."""
        return None if self.device == "cpu" else self._runner.uses_graphs

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Capture and check a CUDA graph of every batch size before the first request.

        Raises:
            EngineError: a replay gives another result than plain computation.
        """
        self._runner.capture()

    @torch.inference_mode()
    def classify_on_device(self, image_BHWC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Classify uint8 photos on the device; return risk, diagnoses and feature map on the device.

        The scope is not returned.
        """
        parts = [[one.clone() for one in self._runner(part)] for part in image_BHWC.split(self.sizes[-1])]
        probability_BX, features_BCHW = (torch.cat(outputs) for outputs in zip(*parts, strict=True))
        return probability_BX[:, 0], probability_BX[:, 1 : 1 + len(self.meta.labels)], features_BCHW

    def _classify(self, image_BHWC: np.ndarray, features: bool, explain: Sequence[int]) -> LesionOutput:
        largest = self.sizes[-1]
        probabilities: list[np.ndarray] = []
        feature_maps: list[np.ndarray] = []
        grad_cam_RHW: dict[int, np.ndarray] = {}
        for start in range(0, max(len(image_BHWC), 1), largest):
            probability_BX, features_BCHW = self._runner(image_BHWC[start : start + largest])
            explained = [index - start for index in explain if start <= index < start + largest]
            for index, maps_RHW in self._grad_cam(features_BCHW, explained).items():
                grad_cam_RHW[start + index] = maps_RHW
            if features:
                feature_maps.append(features_BCHW.float().contiguous().cpu().numpy())
            probabilities.append(probability_BX.cpu().numpy())
        probability_BX = np.concatenate(probabilities)
        return LesionOutput(
            malignant_B=probability_BX[:, 0],
            diagnosis_BK=probability_BX[:, 1 : 1 + len(self.meta.labels)],
            scope_B=probability_BX[:, -1] if self._has_scope else None,
            features_BCHW=np.concatenate(feature_maps) if features else None,
            grad_cam_RHW=grad_cam_RHW,
        )

    def _compute(self, image_BHWC: Tensor) -> tuple[Tensor, Tensor]:
        """Return probabilities and the last feature map.

        The columns are malignancy, each diagnosis and, with a scope head, the scope.
        """
        image_BCHW = normalize(image_BHWC, self.meta.mean, self.meta.std).bfloat16()
        features_BCHW = self._net.features(image_BCHW.contiguous(memory_format=torch.channels_last))
        logits = self._net.classify(features_BCHW.float())
        columns = [logits.risk_BR.softmax(1)[:, GROUPS.index("malignant"), None]]
        columns.append(logits.diagnosis_BK.softmax(1))
        if logits.scope_B is not None:
            columns.append(logits.scope_B.sigmoid()[:, None])
        return torch.cat(columns, dim=1), features_BCHW


def gpu_batch_sizes(max_batch_size: int) -> tuple[int, ...]:
    """Return the padded sizes of batches of at most ``max_batch_size``, in ascending order."""
    largest = next((size for size in GPU_BATCH_SIZES if size >= max_batch_size), GPU_BATCH_SIZES[-1])
    return tuple(size for size in GPU_BATCH_SIZES if size <= largest)


def _weights_of(net: nn.Module) -> Weights:
    return {name: tensor.detach().numpy() for name, tensor in [*net.named_parameters(), *net.named_buffers()]}


def _without_backbone(net: _Net) -> _Net:
    """Free the backbone, which the engine computes elsewhere; the heads remain for Grad-CAM."""
    for part in net.modules():
        if isinstance(part, SingleLesionNet):
            part.backbone = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
    return net
