"""Common settings of all training runs; each task adds its own in ``train/<task>/config.py``."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar

from models.storage import is_remote


@dataclass(frozen=True, kw_only=True)
class Training:
    """Settings of a training run of any task. Addresses are a local path or ``s3://bucket/key``."""

    PATHS: ClassVar[tuple[str, ...]] = ("manifest", "run", "split")
    """Settings that hold a path or an address; a resumed run may have others."""

    manifest: str
    """Parquet file written by ``skinserve ingest`` or ``skinserve followup``."""
    run: str
    """Folder of the run: training checkpoints, log, split and, in ``checkpoint/``, the model artifact."""
    split: str = ""
    """Stored split to use, ``split.parquet`` of another run; else ``val_fraction`` and ``seed`` decide."""
    val_fraction: float
    name: str
    version: str
    init: str = "random"
    """Initial weights: random, or the address of a checkpoint folder."""
    num_epochs: int
    batch_size: int
    """Examples per step on each worker."""
    learning_rate: float
    schedule: Literal["cosine", "plateau"] = "cosine"
    """cosine: linear warm-up, then cosine decay; plateau: lower when the validation loss stalls."""
    warmup_fraction: float
    """Share of the steps in which a cosine schedule rises."""
    plateau_factor: float = 0.1
    plateau_patience: int = 3
    """Epochs without a better validation loss before a plateau schedule lowers the rate."""
    stop_patience: int = 0
    """Early stopping: epochs without a better validation loss before the run ends; 0: never."""
    weight_decay: float
    dropout: float = 0.3
    max_grad_norm: float = 1.0
    ema_decay: float
    """Per step, of the exponential moving average of the weights that is evaluated and released."""
    freeze_batch_norm: bool = False
    """Keep the batch norm statistics of the pretrained weights, for fine-tuning with small batches."""
    release: Literal["last", "best"] = "last"
    """Epoch whose weights are released; best is by validation loss and biases the validation metrics."""
    keep_checkpoints: int = 2
    """Training checkpoints of the best epochs to keep beside the last."""
    seed: int
    device: str = "cpu"
    """Torch device of a run without Ray; under Ray ``--gpu`` decides."""
    bf16: bool = False
    """Compute in bfloat16 on devices with instructions for it; others compute in float32."""
    data_licence: str = ""
    """Empty: that of the manifest."""
    training_data: str = ""
    """Description of the data; empty: that of the manifest."""

    def __post_init__(self) -> None:
        if not 0 < self.val_fraction < 1:
            raise ValueError(f"val_fraction is {self.val_fraction}, must lie between 0 and 1")
        if min(self.num_epochs, self.batch_size) < 1 or self.learning_rate <= 0:
            raise ValueError("num_epochs, batch_size and learning_rate must be positive")
        for name in ("ema_decay", "warmup_fraction", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, must be at least 0 and below 1")
        if not 0 < self.plateau_factor < 1 or min(self.max_grad_norm, self.weight_decay + 1e-9) <= 0:
            raise ValueError(
                "plateau_factor must lie between 0 and 1, max_grad_norm above 0, weight_decay not below"
            )
        if self.release == "best" and not self.keep_checkpoints:
            raise ValueError("release is best and keep_checkpoints 0; keep at least one best checkpoint")
        if min(self.stop_patience, self.plateau_patience, self.keep_checkpoints) < 0:
            raise ValueError("stop_patience, plateau_patience and keep_checkpoints must not be negative")


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Workers, devices and cluster of a run; they affect results only by the examples per step."""

    workers: int = 1
    """Ray Train workers; 0 trains in this process, without Ray."""
    gpu: bool = False
    """One GPU for each worker."""
    cpus_per_worker: int = 0
    """0: the largest equal share with which all workers fit, node by node."""
    folds: int = 0
    """Folds of a cross-validation, trained in parallel as the cluster allows; 0: one network."""
    address: str = "local"
    """Ray cluster: local starts one on this machine, auto joins the one that this machine belongs to."""
    max_failures: int = 3
    """Worker failures after which the run ends."""
    collective_timeout_s: int = 6 * 3600
    """Timeout of a collective operation, for instance while one node decodes its photos."""

    def __post_init__(self) -> None:
        if min(self.workers, self.cpus_per_worker, self.max_failures) < 0:
            raise ValueError("workers, cpus_per_worker and max_failures must not be negative")
        if self.collective_timeout_s < 1:
            raise ValueError(f"collective_timeout_s is {self.collective_timeout_s}, must be positive")
        if self.gpu and not self.workers:
            raise ValueError("--gpu is for Ray workers; without Ray name the device, --device cuda")
        if self.folds < 0 or self.folds == 1:
            raise ValueError(f"folds is {self.folds}, must be 0 for none, or at least 2")


ConfigT = TypeVar("ConfigT", bound=Training)


@dataclass(frozen=True, kw_only=True)
class Job(Generic[ConfigT]):
    """A training run and the machines that run it."""

    training: ConfigT
    scale: Scale = field(default_factory=Scale)


def stored_settings(config: Training) -> dict[str, Any]:
    """Return the settings as JSON values, without paths and devices of one machine."""
    left_out = {*config.PATHS, "device", "keep_checkpoints"}
    settings = {name: value for name, value in asdict(config).items() if name not in left_out}
    settings["init"] = config.init if is_remote(config.init) else Path(config.init).name
    return json.loads(json.dumps(settings))
