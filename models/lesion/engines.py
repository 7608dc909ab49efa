"""Inference engines of the lesion network: uint8 photos in, probabilities out, Grad-CAM maps on request.

Axes: B photo, H row, W column, C channel, K diagnosis, R risk group, X column of several outputs.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from models.checkpoint import CheckpointMeta
from models.cuda_graphs import CudaGraphRunner
from models.diagnoses import GROUPS
from models.inference import check_finite, ieee_float32
from models.lesion.network import LesionNet, fold_batch_norm
from models.lesion.networks import AnyLesionNet, SingleLesionNet
from models.lesion.quantization.int8 import CalibrationRanges, Weights
from models.lesion.quantization.onednn import Int8Backbone
from models.lesion.quantization.onednn_small import SmallInt8Backbone
from models.lesion.runtimes import Runtime
from models.preprocessing import normalize

GPU_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Batches on a GPU are padded to the next of these sizes; each size has its own CUDA graph."""

_Net = TypeVar("_Net", bound=nn.Module)


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

    def __init__(self, meta: CheckpointMeta, net: AnyLesionNet, device: str) -> None:
        self.meta = meta
        self.device = device
        self._net = net.to(device).to(memory_format=torch.channels_last).eval()

    @property
    def uses_cuda_graphs(self) -> bool | None:
        """Whether batches replay CUDA graphs; None for engines without CUDA graphs."""
        return None

    @torch.inference_mode()
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


class PyTorchLesionEngine(LesionEngine):
    """Compute in float32 through eager PyTorch; the reference of all other engines."""

    runtime = "pytorch"

    def _classify(self, image_BHWC: np.ndarray, features: bool, explain: Sequence[int]) -> LesionOutput:
        with ieee_float32(self.device):
            image_BCHW = normalize(
                torch.from_numpy(image_BHWC).to(self.device), self.meta.mean, self.meta.std
            )
            features_BCHW = self._net.features(image_BCHW.contiguous(memory_format=torch.channels_last))
            return self._output(features_BCHW, features, explain)


class OnednnLesionEngine(LesionEngine):
    """Compute the backbone of a single network in int8 by oneDNN on a CPU, the heads in float32."""

    runtime = "onednn-int8"

    def __init__(self, meta: CheckpointMeta, net: SingleLesionNet, ranges: CalibrationRanges) -> None:
        backbone = Int8Backbone if isinstance(net, LesionNet) else SmallInt8Backbone
        self._backbone = backbone(_weights_of(net), meta, ranges)
        super().__init__(meta, _without_backbone(net), "cpu")

    def _classify(self, image_BHWC: np.ndarray, features: bool, explain: Sequence[int]) -> LesionOutput:
        return self._output(self._backbone(torch.from_numpy(image_BHWC)), features, explain)


class OnnxLesionEngine(LesionEngine):
    """Compute through ONNX Runtime on a CPU, in float32 or, with calibration ranges, in int8."""

    supports_concurrent_calls = False

    def __init__(
        self,
        meta: CheckpointMeta,
        net: AnyLesionNet,
        ranges: CalibrationRanges | None,
        num_threads: int | None,
    ) -> None:
        import onnxruntime  # here: the other engines do not need it

        from models.lesion.onnx_graph import lesion_graph

        self.runtime: Runtime = "onnxruntime" if ranges is None else "onnxruntime-int8"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads or torch.get_num_threads()
        options.inter_op_num_threads = 1
        # spinning threads would use the CPU in an idle replica
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # exact products on processors without VNNI, which add pairs of them in 16 bits and overflow
        options.add_session_config_entry("session.x64quantprecision", "1")
        graph = lesion_graph(_weights_of(net), meta, ranges).SerializeToString()
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._has_scope = _has_scope(meta)
        super().__init__(meta, _without_backbone(net), "cpu")

    def _classify(self, image_BHWC: np.ndarray, features: bool, explain: Sequence[int]) -> LesionOutput:
        names = ["malignant_B", "diagnosis_BK"]
        names += ["scope_B"] if self._has_scope else []
        names += ["features_BCHW"] if features or explain else []
        results = map(np.asarray, self._session.run(names, {"image_BHWC": image_BHWC}))
        found = dict(zip(names, results, strict=True))
        features_BCHW = found.get("features_BCHW")
        maps = {} if features_BCHW is None else self._grad_cam(torch.from_numpy(features_BCHW), explain)
        return LesionOutput(
            malignant_B=found["malignant_B"],
            diagnosis_BK=found["diagnosis_BK"],
            scope_B=found.get("scope_B"),
            features_BCHW=features_BCHW if features else None,
            grad_cam_RHW=maps,
        )


class GpuLesionEngine(LesionEngine):
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
        self._has_scope = _has_scope(meta)
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


def _has_scope(meta: CheckpointMeta) -> bool:
    return bool(meta.architecture.get("scope_head"))


def _weights_of(net: nn.Module) -> Weights:
    return {name: tensor.detach().numpy() for name, tensor in [*net.named_parameters(), *net.named_buffers()]}


def _without_backbone(net: _Net) -> _Net:
    """Free the backbone, which the engine computes elsewhere; the heads remain for Grad-CAM."""
    for part in net.modules():
        if isinstance(part, SingleLesionNet):
            part.backbone = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
    return net
