"""A checkpoint made ready to answer on one device: uint8 batch in, probabilities out, feature map when asked.

Axes: B request, T photo of a series, H row, W column, C channel, K diagnosis.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar, get_args

import numpy as np
import torch
from torch import Tensor, nn

from models.checkpoint import (
    CheckpointError,
    CheckpointMeta,
    Kind,
    load_int8_ranges,
    load_weights,
    read_meta,
)
from models.cuda_graphs import GraphedBatches
from models.diagnoses import GROUPS
from models.lesion.network import LesionEnsemble, LesionNet, fold_batch_norm
from models.lesion.quantization.int8 import Ranges, Weights, is_range, names_of_ranges
from models.lesion.quantization.onednn import IntegerTrunk
from models.lesion.quantization.onednn import runs_here as integer_trunk_runs_here
from models.preprocessing import normalize
from models.progress.network import PackedIndex, ProgressNet
from models.tensor_transfer import send_together

Runtime = Literal["pytorch", "pytorch-bf16", "onnxruntime", "onnxruntime-int8", "onednn-int8"]
EngineName = Literal["auto", "pytorch", "pytorch-bf16", "onnxruntime", "onnxruntime-int8", "onednn-int8"]
INT8_RUNTIMES: tuple[Runtime, ...] = ("onednn-int8", "onnxruntime-int8")

GPU_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Sizes of batches on a GPU; a batch is padded to the next, so that each size is recorded once."""

_Net = TypeVar("_Net", bound=nn.Module)


@dataclass(frozen=True, kw_only=True)
class LesionOutput:
    """What the lesion network says of a batch."""

    malignant_B: np.ndarray
    """float32, probability of malignancy."""
    diagnosis_BK: np.ndarray
    """float32, columns in the order of ``meta.labels``; each row sums to 1."""
    features_BCHW: np.ndarray | None = None
    """float32, the last feature map, if it was requested."""
    heat_RHW: Mapping[int, np.ndarray] = field(default_factory=dict)
    """For each photo whose explanation was requested, by its index: float32, 0 to 1, the Grad-CAM maps of the
    groups in the order of ``GROUPS``."""


@dataclass(frozen=True, kw_only=True)
class ProgressOutput:
    """What the progress network says of a batch of series."""

    improved_BT: np.ndarray
    """float32, probability of improved after each photo; a masked photo repeats the one before it."""


class LesionEngine:
    """Answers with one lesion checkpoint, of one network or several.

    This class computes in float32 through PyTorch, the reference; those derived from it compute ``_answer``
    in another way.
    """

    runtime: Runtime = "pytorch"
    one_at_a_time = False
    """Whether it wants to be called from one thread at a time: it has threads of its own, or a GPU."""

    def __init__(self, meta: CheckpointMeta, net: LesionNet | LesionEnsemble, device: str) -> None:
        self.meta = meta
        self.device = device
        self._net = net.to(device).to(memory_format=torch.channels_last).eval()

    @property
    def uses_cuda_graphs(self) -> bool | None:
        """Whether batches replay CUDA graphs; None for engines that have none."""
        return None

    @torch.inference_mode()
    def __call__(
        self, image_BHWC: np.ndarray, *, features: bool = False, explain: Sequence[int] = ()
    ) -> LesionOutput:
        """Classify a batch.

        Args:
            image_BHWC: uint8, (B, input_px, input_px, 3), RGB, upright.
            features: return the last feature map of every photo too.
            explain: indices of the photos whose Grad-CAM maps are returned too.
        """
        side = self.meta.input_px
        if image_BHWC.shape[1:] != (side, side, 3) or image_BHWC.dtype != np.uint8:
            raise ValueError(
                f"got {image_BHWC.dtype} {image_BHWC.shape}, need uint8 (B, {side}, {side}, 3); "
                "decode with models.images.decode_square"
            )
        return self._answer(np.ascontiguousarray(image_BHWC), features, explain)

    def ping(self) -> None:
        """Send one blank image through the network; raise if the answer is not a probability."""
        side = self.meta.input_px
        _check_finite(self(np.zeros((1, side, side, 3), np.uint8)).malignant_B)

    def _answer(self, image_BHWC: np.ndarray, features: bool, explain: Sequence[int]) -> LesionOutput:
        with _ieee_float32(self.device):
            image_BCHW = normalize(
                torch.from_numpy(image_BHWC).to(self.device), self.meta.mean, self.meta.std
            )
            features_BCHW = self._net.features(image_BCHW.contiguous(memory_format=torch.channels_last))
            return self._output(features_BCHW, features, explain)

    def _output(self, features_BCHW: Tensor, features: bool, explain: Sequence[int]) -> LesionOutput:
        logits = self._net.classify(features_BCHW)
        return LesionOutput(
            malignant_B=logits.risk_BR.softmax(1)[:, GROUPS.index("malignant")].cpu().numpy(),
            diagnosis_BK=logits.diagnosis_BK.softmax(1).cpu().numpy(),
            features_BCHW=features_BCHW.contiguous().cpu().numpy() if features else None,
            heat_RHW=self._heat_maps(features_BCHW, explain),
        )

    def _heat_maps(self, features_BCHW: Tensor, explain: Sequence[int]) -> dict[int, np.ndarray]:
        if not explain:
            return {}
        maps = torch.stack([self._net.risk_maps(features_BCHW[index].float()) for index in explain])
        return dict(zip(explain, maps.cpu().numpy(), strict=True))


class IntegerLesionEngine(LesionEngine):
    """One network whose trunk computes in 8 bits by oneDNN; its heads stay in float32."""

    runtime: Runtime = "onednn-int8"

    def __init__(self, meta: CheckpointMeta, net: LesionNet, ranges: Ranges) -> None:
        self._trunk = IntegerTrunk(_weights_of(net), meta, ranges)
        super().__init__(meta, _without_trunk(net), "cpu")

    def _answer(self, image_BHWC: np.ndarray, features: bool, explain: Sequence[int]) -> LesionOutput:
        return self._output(self._trunk(torch.from_numpy(image_BHWC)), features, explain)


class OnnxLesionEngine(LesionEngine):
    """A network or an ensemble through ONNX Runtime on a CPU; in 8 bits with ``ranges``."""

    one_at_a_time = True

    def __init__(
        self,
        meta: CheckpointMeta,
        net: LesionNet | LesionEnsemble,
        ranges: Ranges | None,
        num_threads: int | None,
    ) -> None:
        import onnxruntime  # here: the other engines do without

        from models.lesion.onnx_graph import lesion_graph

        self.runtime: Runtime = "onnxruntime" if ranges is None else "onnxruntime-int8"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads or torch.get_num_threads()
        options.inter_op_num_threads = 1
        options.add_session_config_entry(
            "session.intra_op.allow_spinning", "0"
        )  # an idle replica costs nothing
        # exact products on processors without VNNI, which add pairs of them in 16 bits and overflow
        options.add_session_config_entry("session.x64quantprecision", "1")
        graph = lesion_graph(_weights_of(net), meta, ranges).SerializeToString()
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        super().__init__(meta, _without_trunk(net), "cpu")

    def _answer(self, image_BHWC: np.ndarray, features: bool, explain: Sequence[int]) -> LesionOutput:
        names = ["malignant_B", "diagnosis_BK", *(["features_BCHW"] if features or explain else [])]
        malignant_B, diagnosis_BK, *rest = map(
            np.asarray, self._session.run(names, {"image_BHWC": image_BHWC})
        )
        return LesionOutput(
            malignant_B=malignant_B,
            diagnosis_BK=diagnosis_BK,
            features_BCHW=rest[0] if features else None,
            heat_RHW=self._heat_maps(torch.from_numpy(rest[0]), explain) if explain else {},
        )


class GpuLesionEngine(LesionEngine):
    """A network or an ensemble on a GPU: bfloat16, channels last, batch norm folded in, heads in float32.

    A batch is padded to one of ``sizes``, split if it is larger than all, and replayed as a CUDA graph. It
    costs one copy to the device and one back; explanations cost one more copy back. On a CPU, where tests run
    it, there are no graphs.
    """

    runtime: Runtime = "pytorch-bf16"
    one_at_a_time = True

    def __init__(
        self,
        meta: CheckpointMeta,
        net: LesionNet | LesionEnsemble,
        device: str,
        *,
        max_batch_size: int = 64,
    ) -> None:
        for part in net.modules():
            if isinstance(part, LesionNet):
                fold_batch_norm(part.trunk.eval())
                part.trunk.bfloat16()
        super().__init__(meta, net, device)
        self.sizes = batch_sizes(max_batch_size)
        self._batches = GraphedBatches(self._compute, (meta.input_px, meta.input_px, 3), self.sizes, device)

    @property
    def uses_cuda_graphs(self) -> bool | None:
        """Whether batches replay CUDA graphs; None on a CPU."""
        return None if self.device == "cpu" else self._batches.uses_graphs

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Record a CUDA graph of every size and check it, so that no request waits for it.

        Raises:
            EngineError: a graph gives other answers than computation.
        """
        self._batches.record()

    @torch.inference_mode()
    def on_device(self, image_BHWC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Classify uint8 photos that are on the device, as tensors there: risk, diagnoses, feature map."""
        parts = image_BHWC.split(self.sizes[-1])
        found = [[result.clone() for result in self._batches(part)] for part in parts]
        answers_BX, features_BCHW = (torch.cat(results) for results in zip(*found, strict=True))
        return answers_BX[:, 0], answers_BX[:, 1:], features_BCHW

    def _answer(self, image_BHWC: np.ndarray, features: bool, explain: Sequence[int]) -> LesionOutput:
        largest = self.sizes[-1]
        answers: list[np.ndarray] = []
        feature_maps: list[np.ndarray] = []
        heat_RHW: dict[int, np.ndarray] = {}
        for start in range(0, max(len(image_BHWC), 1), largest):
            answers_BX, features_BCHW = self._batches(image_BHWC[start : start + largest])
            here = [index - start for index in explain if start <= index < start + largest]
            for index, maps in self._heat_maps(features_BCHW, here).items():
                heat_RHW[start + index] = maps
            if features:
                feature_maps.append(features_BCHW.float().contiguous().cpu().numpy())
            answers.append(answers_BX.cpu().numpy())
        found_BX = np.concatenate(answers)
        return LesionOutput(
            malignant_B=found_BX[:, 0],
            diagnosis_BK=found_BX[:, 1:],
            features_BCHW=np.concatenate(feature_maps) if features else None,
            heat_RHW=heat_RHW,
        )

    def _compute(self, image_BHWC: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities, (B, 1 + K): of malignancy, then of each diagnosis; and the last feature map."""
        image_BCHW = normalize(image_BHWC, self.meta.mean, self.meta.std).bfloat16()
        features_BCHW = self._net.features(image_BCHW.contiguous(memory_format=torch.channels_last))
        logits = self._net.classify(features_BCHW.float())
        malignant_B1 = logits.risk_BR.softmax(1)[:, GROUPS.index("malignant")].unsqueeze(1)
        return torch.cat([malignant_B1, logits.diagnosis_BK.softmax(1)], dim=1), features_BCHW


def batch_sizes(max_batch_size: int) -> tuple[int, ...]:
    """Return the sizes that batches of at most ``max_batch_size`` are padded to, in ascending order."""
    enough = next((size for size in GPU_BATCHES if size >= max_batch_size), GPU_BATCHES[-1])
    return tuple(size for size in GPU_BATCHES if size <= enough)


@contextlib.contextmanager
def _ieee_float32(device: str) -> Iterator[None]:
    """Compute float32 as float32: on a GPU PyTorch takes TF32 for convolutions, with 10 bits of mantissa."""
    backends = (torch.backends.cudnn.conv, torch.backends.cuda.matmul)  # pyright: ignore
    if device == "cpu":
        yield
        return
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


class ProgressEngine:
    """Answers with one progress checkpoint through PyTorch, the reference runtime."""

    runtime = "pytorch"

    def __init__(self, meta: CheckpointMeta, net: ProgressNet, device: str) -> None:
        self.meta = meta
        self.device = device
        self._net = net.to(device).eval()

    @torch.inference_mode()
    def __call__(self, photos_BTHWC: np.ndarray, present_BT: np.ndarray) -> ProgressOutput:
        """Classify a batch of series of face crops.

        Args:
            photos_BTHWC: uint8, (B, T, input_px, input_px, 3); where a face is missing, anything.
            present_BT: bool, False where a series has no face or is already over.
        """
        side = self.meta.input_px
        if photos_BTHWC.shape[2:] != (side, side, 3) or photos_BTHWC.dtype != np.uint8:
            raise ValueError(
                f"got {photos_BTHWC.dtype} {photos_BTHWC.shape}, need uint8 (B, T, {side}, {side}, 3)"
            )
        host_NHWC = torch.from_numpy(photos_BTHWC[present_BT])
        index = PackedIndex.of(torch.from_numpy(np.ascontiguousarray(present_BT)))
        photo_NHWC, *positions = send_together([host_NHWC, *index.tensors], self.device)
        with _ieee_float32(self.device):
            photo_NCHW = normalize(photo_NHWC, self.meta.mean, self.meta.std)
            logits_BTC = self._net.packed(photo_NCHW, index.at(positions))
        improved = self.meta.labels.index("improved")
        return ProgressOutput(improved_BT=logits_BTC.softmax(2)[..., improved].cpu().numpy())

    def ping(self) -> None:
        """Send two blank crops through the network; raise if the answer is not a probability."""
        side = self.meta.input_px
        _check_finite(self(np.zeros((1, 2, side, side, 3), np.uint8), np.ones((1, 2), bool)).improved_BT)


def load_lesion_engine(
    folder: Path,
    *,
    device: str = "cpu",
    num_threads: int | None = None,
    engine: EngineName = "auto",
    max_batch_size: int = 64,
) -> LesionEngine:
    """Load a lesion checkpoint onto ``device``.

    Args:
        max_batch_size: largest batch that a GPU is prepared for; larger ones are split.
        num_threads: of the engine on a CPU; sets those of PyTorch in this process too.
        engine: ``pytorch`` is the reference, float32. ``auto`` takes, on a CPU, the first engine in 8 bits
            that runs here and that the release found good enough (``metrics.int8.engines``): oneDNN where
            the processor has VNNI, ONNX Runtime; else ONNX Runtime in float32. On a GPU it takes bfloat16.

    Raises:
        CheckpointError: ``folder`` is no lesion checkpoint that this code understands, or it has no ranges
            for the 8 bits that were asked for.
        EngineError: the GPU's answers are wrong.
        ValueError: there is no such engine, or it does not run on this device.
    """
    _check_engine(engine, device)
    meta = _meta_of_kind(folder, "lesion", num_threads)
    if engine == "auto":
        engine = "pytorch-bf16" if device != "cpu" else _best_on_cpu(meta)
    ranges = _ranges(folder, meta, engine) if engine in INT8_RUNTIMES else None
    net = _built(LesionEnsemble if "num_members" in meta.architecture else LesionNet, folder, meta)
    if engine == "pytorch":
        return LesionEngine(meta, net, device)
    if engine == "pytorch-bf16":
        gpu = GpuLesionEngine(meta, net, device, max_batch_size=max_batch_size)
        gpu.warm_up()
        return gpu
    if engine == "onednn-int8":
        assert ranges is not None and isinstance(net, LesionNet)
        return IntegerLesionEngine(meta, net, ranges)
    return OnnxLesionEngine(meta, net, ranges, num_threads)


def int8_runtimes() -> list[Runtime]:
    """Return the engines in 8 bits that this machine can run, the best first."""
    return [name for name in INT8_RUNTIMES if name != "onednn-int8" or integer_trunk_runs_here()]


def _check_engine(engine: str, device: str) -> None:
    if engine not in get_args(EngineName):
        raise ValueError(f"there is no engine {engine!r}; take one of {', '.join(get_args(EngineName))}")
    if device != "cpu" and engine in ("onnxruntime", *INT8_RUNTIMES):
        raise ValueError(f"engine {engine} runs on a CPU, the device is {device}; take engine auto")
    if engine == "onednn-int8" and engine not in int8_runtimes():
        raise ValueError(
            "engine onednn-int8 needs AVX-512 VNNI, which this processor lacks; take engine auto"
        )


def _best_on_cpu(meta: CheckpointMeta) -> Runtime:
    passed = meta.metrics.get("int8", {}).get("engines", {}) if meta.int8_sha256 else {}
    for runtime in int8_runtimes():
        if passed.get(runtime):
            return runtime
    return "onnxruntime"


def _ranges(folder: Path, meta: CheckpointMeta, engine: EngineName) -> Ranges:
    ranges = load_int8_ranges(folder, meta)
    if ranges is None:
        raise CheckpointError(
            f"checkpoint {folder} has no ranges for 8 bits, which engine {engine} needs: its release is "
            "older than they are, or refused them (metrics.int8); release it again or take engine auto"
        )
    wrong = [name for name in names_of_ranges(meta.input_px) if not is_range(name, ranges.get(name, (0, 0)))]
    if wrong or "num_members" in meta.architecture:
        raise CheckpointError(
            f"the ranges for 8 bits in checkpoint {folder} do not fit its network "
            f"({', '.join(wrong[:3]) or 'it is an ensemble'}); release it again, or take engine onnxruntime"
        )
    return ranges


def _weights_of(net: nn.Module) -> Weights:
    return {name: tensor.detach().numpy() for name, tensor in net.state_dict().items()}


def _without_trunk(net: _Net) -> _Net:
    """The heads alone, for heat maps; another engine computes the trunk."""
    for part in net.modules():
        if isinstance(part, LesionNet):
            part.trunk = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
    return net


def load_progress_engine(
    folder: Path, *, device: str = "cpu", num_threads: int | None = None
) -> ProgressEngine:
    """Load a progress checkpoint; as ``load_lesion_engine``."""
    meta = _meta_of_kind(folder, "progress", num_threads)
    net = _built(ProgressNet, folder, meta)
    return ProgressEngine(meta, net, device)


def _meta_of_kind(folder: Path, kind: Kind, num_threads: int | None) -> CheckpointMeta:
    meta = read_meta(folder)
    if meta.kind != kind:
        raise CheckpointError(
            f"checkpoint {folder} is a {meta.kind} network, a {kind} network is needed here"
        )
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    return meta


def _built(network: type[_Net], folder: Path, meta: CheckpointMeta) -> _Net:
    try:
        with torch.device("meta"):  # no time for random weights
            net = network(**meta.architecture)
        net.load_state_dict(load_weights(folder, meta), assign=True)
    except (RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"the checkpoint {folder} does not fit {network.__name__}({meta.architecture}): {error}"
        ) from error
    return net


def _check_finite(probability: np.ndarray) -> None:
    if not np.isfinite(probability).all():
        raise RuntimeError(
            f"the engine answered {probability}, a probability is needed; load the checkpoint again"
        )
