"""Load a lesion checkpoint into the requested engine or the fastest suitable one.

PyTorch is imported only for an engine that needs it.
"""

from pathlib import Path
from typing import get_args

from models.checkpoint import (
    CheckpointError,
    CheckpointMeta,
    load_arrays,
    load_int8_ranges,
    read_meta_of_kind,
)
from models.lesion.engine import LesionEngine
from models.lesion.metrics import LesionMetrics
from models.lesion.processor import has_vnni
from models.lesion.quantization.int8 import CalibrationRanges, activation_names, is_valid_range
from models.lesion.runtimes import INT8_RUNTIMES, EngineName, Runtime
from models.lesion.shapes import NETWORKS, RESNET50, network_name
from models.lesion.small_shapes import small_activation_names


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
        num_threads: of the engine on a CPU; an engine of PyTorch sets those of the whole process.
        engine: ``pytorch`` is the reference, float32. ``auto`` selects, on a CPU, the first int8 runtime that
            the machine supports and the release accepted (``metrics.int8.engines``): oneDNN where the
            processor has VNNI, then ONNX Runtime; else ONNX Runtime in float32. On a GPU it selects bfloat16.

    Raises:
        CheckpointError: ``folder`` is no lesion checkpoint of this format version, or has no calibration
            ranges for the requested int8 engine.
        EngineError: the results on the GPU are wrong.
        ValueError: there is no such engine, or it does not run on this device.
    """
    _check_engine(engine, device)
    meta = read_meta_of_kind(folder, "lesion")
    if not meta.groups:
        raise CheckpointError(f"lesion checkpoint {folder} has no groups; release it again with groups")
    if (network := network_name(meta.architecture)) not in NETWORKS:
        raise CheckpointError(
            f"checkpoint {folder} has the network {network!r}, this code has {', '.join(NETWORKS)}; serve it "
            "with the code that made it"
        )
    if engine == "auto":
        engine = "pytorch-bf16" if device != "cpu" else _best_on_cpu(meta)
    ranges = _load_ranges(folder, meta, engine) if engine in INT8_RUNTIMES else None
    if engine in ("onnxruntime", "onnxruntime-int8"):
        from models.lesion.onnx_engine import OnnxLesionEngine

        return OnnxLesionEngine(meta, load_arrays(folder, meta), ranges, num_threads)

    import torch

    from models.lesion import pytorch_engines
    from models.lesion.networks import SingleLesionNet, load_lesion_network

    if num_threads is not None:
        torch.set_num_threads(num_threads)
    net = load_lesion_network(folder, meta)
    if engine == "pytorch":
        return pytorch_engines.PyTorchLesionEngine(meta, net, device)
    if engine == "pytorch-bf16":
        gpu_engine = pytorch_engines.GpuLesionEngine(meta, net, device, max_batch_size=max_batch_size)
        gpu_engine.warm_up()
        return gpu_engine
    assert ranges is not None and isinstance(net, SingleLesionNet)
    return pytorch_engines.OnednnLesionEngine(meta, net, ranges)


def supported_int8_runtimes(network: str = RESNET50) -> list[Runtime]:
    """Return the int8 runtimes that this machine supports for a network, the fastest first.

    ONNX Runtime computes depthwise convolutions slower in int8 than in float32: it has no int8 for the small
    network.
    """
    runtimes = INT8_RUNTIMES if network == RESNET50 else ("onednn-int8",)
    return [name for name in runtimes if name != "onednn-int8" or has_vnni()]


def _check_engine(engine: str, device: str) -> None:
    if engine not in get_args(EngineName):
        raise ValueError(f"there is no engine {engine!r}; take one of {', '.join(get_args(EngineName))}")
    if device != "cpu" and engine in ("onnxruntime", *INT8_RUNTIMES):
        raise ValueError(f"engine {engine} runs on a CPU, the device is {device}; take engine auto")
    if engine == "onednn-int8" and not has_vnni():
        raise ValueError(
            "engine onednn-int8 needs AVX-512 VNNI, which this processor lacks; take engine auto"
        )


def _best_on_cpu(meta: CheckpointMeta) -> Runtime:
    cost = meta.metrics.int8 if isinstance(meta.metrics, LesionMetrics) and meta.int8_sha256 else None
    accepted = cost.engines if cost else {}
    for runtime in supported_int8_runtimes(network_name(meta.architecture)):
        if accepted.get(runtime):
            return runtime
    return "onnxruntime"


def _load_ranges(folder: Path, meta: CheckpointMeta, engine: EngineName) -> CalibrationRanges:
    network = network_name(meta.architecture)
    if network != RESNET50 and engine == "onnxruntime-int8":
        raise ValueError(
            f"engine {engine} has no int8 for the network {network} of {folder}; take engine auto"
        )
    ranges = load_int8_ranges(folder, meta)
    if ranges is None:
        raise CheckpointError(
            f"checkpoint {folder} has no calibration ranges, which engine {engine} needs: it was released "
            "without int8, or int8 was rejected (metrics.int8); release it again or take engine auto"
        )
    names = activation_names(meta.input_px) if network == RESNET50 else small_activation_names()
    invalid = [name for name in names if not is_valid_range(name, ranges.get(name, (0, 0)))]
    if invalid or "num_members" in meta.architecture:
        raise CheckpointError(
            f"the calibration ranges in checkpoint {folder} do not fit its network "
            f"({', '.join(invalid[:3]) or 'it is an ensemble'}); release it again, or take engine onnxruntime"
        )
    return ranges
