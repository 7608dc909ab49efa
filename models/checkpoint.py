"""Save, load and verify a checkpoint folder, the contract between training and serving.

It holds ``weights.safetensors``, ``meta.json`` and ``MODEL_CARD.md``. A lesion network released for int8
inference has ``int8.json`` with its calibration ranges; one with a gate has ``localizer.onnx``. Reading
``meta.json`` needs no torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from models.diagnoses import Group
from models.errors import SkinserveError
from models.metrics import TaskMetrics
from models.task_metrics import parse_metrics

if TYPE_CHECKING:
    from torch import Tensor, nn

FORMAT_VERSION = 1
WEIGHTS, META, CARD, INT8 = "weights.safetensors", "meta.json", "MODEL_CARD.md", "int8.json"
LOCALIZER = "localizer.onnx"


class CheckpointError(SkinserveError):
    """Report a folder that is no checkpoint, is damaged or has another format version."""


class CheckpointMeta(BaseModel):
    """Content of ``meta.json``: everything serving needs besides the weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: int = FORMAT_VERSION
    kind: str = Field(description="name of the task")
    name: str
    version: str
    architecture: dict[str, Any] = Field(description="keyword arguments of the network's class")
    description: str = Field(
        default="",
        max_length=300,
        exclude_if=lambda description: not description,  # older code reads checkpoints without one
        description="purpose of the network, one sentence",
    )
    labels: tuple[str, ...] = Field(description="in the order of the output columns")
    groups: dict[str, Group] = Field(
        description="benign or malignant, of each label; empty if the labels have no groups"
    )
    input_px: int = Field(gt=0, description="side of the square input, pixels")
    mean: tuple[float, float, float] = Field(description="of pixels scaled to 0..1")
    std: tuple[float, float, float]
    thresholds: dict[str, Annotated[float, Field(ge=0, le=1)]]
    ranking_weights: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(
        default={},
        exclude_if=lambda weights: not weights,  # older code reads checkpoints without them
        description="by label: factor of the probability when labels are ranked; empty: equal",
    )
    metrics: SerializeAsAny[TaskMetrics] = Field(
        default=TaskMetrics(), description="with data set, split, n and 95% intervals"
    )
    training: dict[str, Any] = Field(description="resolved training settings")
    training_data: str
    data_fingerprint: str = Field(description="sha256 over the manifest rows and the split")
    data_licence: str
    weights_sha256: str = ""
    int8_sha256: str = Field(default="", description="of int8.json; empty if served in float32 only")
    gate: dict[str, Any] | None = Field(
        default=None,
        exclude_if=lambda gate: gate is None,  # older code reads checkpoints without a gate
        description="of a lesion network, parsed by models.lesion.gate; null: no gate",
    )

    def label_weights(self) -> tuple[float, ...]:
        """Return the weight of each label in the ranking, in the order of the labels."""
        return tuple(self.ranking_weights.get(label, 1.0) for label in self.labels)

    @field_validator("metrics", mode="before")
    @classmethod
    def _parse_metrics(cls, content: object, info: ValidationInfo) -> TaskMetrics:
        return parse_metrics(info.data.get("kind", ""), content)

    @model_validator(mode="after")
    def _check_consistency(self) -> CheckpointMeta:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError(f"labels has duplicates: {', '.join(self.labels)}")
        if self.groups and set(self.groups) != set(self.labels):
            raise ValueError("groups must have the labels as its keys")
        if self.ranking_weights and set(self.ranking_weights) != set(self.labels):
            raise ValueError("ranking_weights must have the labels as its keys")
        if self.architecture.get("num_diagnoses", len(self.labels)) != len(self.labels):
            raise ValueError("architecture.num_diagnoses must be the number of labels")
        if self.architecture.get("input_px", self.input_px) != self.input_px:
            raise ValueError("architecture.input_px must equal input_px")
        malignant = self.thresholds.get("malignant", 1.0)
        if self.thresholds.get("benign", 0.0) > malignant:
            raise ValueError(f"thresholds.benign must be at most thresholds.malignant, {malignant:g}")
        return self


def local_checkpoint(address: str) -> Path:
    """Return the local folder of a checkpoint; download an S3 folder once.

    Args:
        address: of S3, or a path relative to the working folder or else to our packages.

    Raises:
        CheckpointError: the download failed.
    """
    from models.storage import StorageError, fetch_folder, is_remote

    if not is_remote(address):
        beside_packages = Path(__file__).parents[1] / address
        return beside_packages if beside_packages.exists() and not Path(address).exists() else Path(address)
    try:
        return fetch_folder(address, _cache_folder())
    except (StorageError, OSError) as error:
        raise CheckpointError(f"checkpoint {address} cannot be fetched: {error}") from error


def _cache_folder() -> Path:
    """Return ~/.cache/skinserve, or a folder of this user in $TMPDIR if the home is not writable."""
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: a container's user without a home
        folder = Path.home() / ".cache" / "skinserve"
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    folder = Path(tempfile.gettempdir()) / f"skinserve-cache-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to another user; set TMPDIR to a folder of your own")
    return folder


def read_meta(folder: Path) -> CheckpointMeta:
    """Read and check ``meta.json``, without torch.

    Raises:
        CheckpointError: the folder or file is missing, unreadable or of another format version.
    """
    path = folder / META
    if not path.is_file():
        raise CheckpointError(
            f"{folder} is no checkpoint: it has no {META}; name a folder made by skinserve train"
        )
    try:
        meta = CheckpointMeta.model_validate_json(path.read_bytes())
    except ValidationError as error:
        version = _version_of(path)
        if version is None:
            raise CheckpointError(
                f"{folder} is no checkpoint of a served network: its {META} has no format_version; name a "
                "folder made by skinserve release"
            ) from error
        if version != FORMAT_VERSION:
            raise CheckpointError(_other_version(folder, version)) from error
        what = "; ".join(f"{'.'.join(map(str, e['loc']))} {e['msg']}".strip() for e in error.errors()[:3])
        raise CheckpointError(
            f"{path} does not fit format version {FORMAT_VERSION}: {what}; release the checkpoint again"
        ) from error
    if meta.format_version != FORMAT_VERSION:
        raise CheckpointError(_other_version(folder, meta.format_version))
    return meta


def read_meta_of_kind(folder: Path, kind: str) -> CheckpointMeta:
    """Read ``meta.json`` of a checkpoint and check its kind, without torch.

    Raises:
        CheckpointError: ``folder`` is no checkpoint, or one of another kind.
    """
    meta = read_meta(folder)
    if meta.kind != kind:
        raise CheckpointError(
            f"checkpoint {folder} is a {meta.kind} network, a {kind} network is needed here"
        )
    return meta


def verify_checkpoint(folder: Path) -> CheckpointMeta:
    """Check every file that serving needs against its hash, without torch, and return the meta.

    Raises:
        CheckpointError: a file is missing or damaged, or the gate belongs to another network.
    """
    meta = read_meta(folder)
    read_verified(folder / WEIGHTS, meta.weights_sha256)
    load_int8_ranges(folder, meta)
    read_model_card(folder)
    if meta.gate is not None:
        read_verified(folder / LOCALIZER, str(meta.gate.get("localizer_sha256")))
        if meta.gate.get("network_sha256") != meta.weights_sha256:
            raise CheckpointError(
                f"the gate of {folder} was fitted to other weights; calibrate the gate on these weights"
            )
    return meta


def read_model_card(folder: Path) -> str:
    """Return the Markdown of ``MODEL_CARD.md``."""
    path = folder / CARD
    if not path.is_file():
        raise CheckpointError(f"checkpoint {folder} has no {CARD}; every released checkpoint needs one")
    return path.read_text(encoding="utf-8")


def load_arrays(folder: Path, meta: CheckpointMeta) -> dict[str, np.ndarray]:
    """Return the stored weights by name, floating-point ones as float32, and verify their hash.

    Raises:
        CheckpointError: the file is missing, its hash differs from ``meta``, or a weight is not finite.
    """
    from safetensors.numpy import load

    content = read_verified(folder / WEIGHTS, meta.weights_sha256)
    try:
        weights = load(content)
    except KeyError as error:  # numpy has no bfloat16
        raise CheckpointError(
            f"{folder / WEIGHTS} has weights of type {error}, float16 or float32 are needed; convert them"
        ) from error
    # int8 engines convert NaN to an integer: their probabilities would be finite and wrong
    broken = [name for name, array in weights.items() if not np.isfinite(array).all()]
    if broken:
        raise CheckpointError(
            f"{folder / WEIGHTS} has weights that are NaN or infinite ({', '.join(broken[:3])}), finite ones "
            "are needed; release the checkpoint again, or take the version before"
        )
    return {
        name: array.astype(np.float32) if np.issubdtype(array.dtype, np.floating) else array
        for name, array in weights.items()
    }


def load_weights(folder: Path, meta: CheckpointMeta) -> dict[str, Tensor]:
    """Load the weights of ``load_arrays`` as tensors on the CPU."""
    import torch

    return {name: torch.from_numpy(array) for name, array in load_arrays(folder, meta).items()}


def load_int8_ranges(folder: Path, meta: CheckpointMeta) -> dict[str, tuple[float, float]] | None:
    """Return the calibration ranges of the int8 activations; None for a checkpoint without int8.

    Raises:
        CheckpointError: the file is missing or malformed, or its hash differs from ``meta``.
    """
    if not meta.int8_sha256:
        return None
    content = read_verified(folder / INT8, meta.int8_sha256)
    try:
        return TypeAdapter(dict[str, tuple[float, float]]).validate_json(content)
    except ValidationError as error:
        raise CheckpointError(
            f"{folder / INT8} must map each activation to two numbers ({error.errors()[0]['msg']}); "
            "release the checkpoint again"
        ) from error


def save_checkpoint(
    folder: Path,
    net: nn.Module,
    meta: CheckpointMeta,
    model_card: str,
    *,
    int8_ranges: Mapping[str, tuple[float, float]] | None = None,
    localizer_onnx: bytes | None = None,
) -> CheckpointMeta:
    """Write a checkpoint: matrices and kernels as float16, vectors (biases, batch norm) as float32.

    Args:
        int8_ranges: calibration ranges by activation; none: the checkpoint is served in float32 only.
        localizer_onnx: content of ``localizer.onnx``, needed if ``meta.gate`` is set. Empty hashes in
            ``meta.gate`` are filled in.

    Returns:
        ``meta`` with the hashes of the written files, as stored.

    Raises:
        CheckpointError: the gate belongs to another network or localizer, or lacks its localizer.
    """
    import torch
    from safetensors.torch import save

    weights = {
        name: (tensor.half() if tensor.ndim > 1 and tensor.dtype == torch.float32 else tensor).contiguous()
        for name, tensor in unwrap(net).state_dict().items()
    }
    content = save(weights)
    ranges = json.dumps(int8_ranges, indent=0).encode() if int8_ranges else b""
    hashes = {
        "weights_sha256": hashlib.sha256(content).hexdigest(),
        "int8_sha256": hashlib.sha256(ranges).hexdigest() if ranges else "",
    }
    gate = _complete_gate(meta.gate, hashes["weights_sha256"], localizer_onnx)
    meta = meta.model_copy(update={**hashes, "gate": gate})
    folder.mkdir(parents=True, exist_ok=True)
    if localizer_onnx is not None:
        (folder / LOCALIZER).write_bytes(localizer_onnx)
    else:
        (folder / LOCALIZER).unlink(missing_ok=True)
    if ranges:
        (folder / INT8).write_bytes(ranges)
    else:
        (folder / INT8).unlink(missing_ok=True)
    (folder / WEIGHTS).write_bytes(content)
    (folder / META).write_text(meta.model_dump_json(indent=2) + "\n", encoding="utf-8")
    (folder / CARD).write_text(model_card, encoding="utf-8")
    return meta


def save_gate(folder: Path, gate: Mapping[str, Any], localizer_onnx: bytes) -> CheckpointMeta:
    """Add a gate to a written checkpoint, or replace its gate; empty hashes in ``gate`` are filled in.

    Returns:
        The meta as stored.

    Raises:
        CheckpointError: ``folder`` is no checkpoint, or the gate belongs to another network or localizer.
    """
    meta = read_meta(folder)
    meta = meta.model_copy(update={"gate": _complete_gate(gate, meta.weights_sha256, localizer_onnx)})
    (folder / LOCALIZER).write_bytes(localizer_onnx)
    (folder / META).write_text(meta.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return meta


def _complete_gate(
    gate: Mapping[str, Any] | None, weights_sha256: str, localizer_onnx: bytes | None
) -> dict[str, Any] | None:
    if gate is None and localizer_onnx is None:
        return None
    if gate is None or localizer_onnx is None:
        raise CheckpointError(
            f"a checkpoint with a gate needs {LOCALIZER}, and one without a gate needs none; give both or "
            "neither"
        )
    hashes = {
        "network_sha256": weights_sha256,
        "localizer_sha256": hashlib.sha256(localizer_onnx).hexdigest(),
    }
    for name, found in hashes.items():
        if gate.get(name) not in (None, "", found):
            raise CheckpointError(
                f"gate.{name} is {gate[name][:12]}…, but the file to be written has {found[:12]}…: the gate "
                "was fitted to other weights; fit it again"
            )
    return {**gate, **hashes}


def unwrap(net: nn.Module) -> nn.Module:
    """Return the network without its DistributedDataParallel or AveragedModel wrapper."""
    from torch.nn.parallel import DistributedDataParallel
    from torch.optim.swa_utils import AveragedModel

    return net.module if isinstance(net, DistributedDataParallel | AveragedModel) else net


def read_verified(path: Path, sha256: str) -> bytes:
    """Return the content of a file of a checkpoint.

    Raises:
        CheckpointError: the file is missing or has another hash.
    """
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path.parent} has no {path.name}; fetch the folder again")
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise CheckpointError(f"{path} has sha256 {found[:12]}…, {META} says {sha256[:12]}…; fetch it again")
    return content


def _version_of(path: Path) -> object:
    try:
        content: object = json.loads(path.read_bytes())
    except ValueError:
        return FORMAT_VERSION
    return content.get("format_version") if isinstance(content, dict) else FORMAT_VERSION


def _other_version(folder: Path, version: object) -> str:
    return (
        f"checkpoint {folder} has format version {version}, this code needs {FORMAT_VERSION}; "
        "release it again with this code, or serve it with the code that made it"
    )
