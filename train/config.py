"""What a training run is told: frozen, complete dataclasses."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from models.preprocessing import Augmentation
from models.storage import is_remote
from train.keras_resnet import is_keras_resnet50
from train.progress.synthetic.trajectory import SequenceDrawing

WHERE = ("manifest", "run", "split", "cache", "faces", "device", "keep_states")
"""Settings that say where things are; they may change between a run's start and its continuation."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """What the runs of both networks are told. Addresses are a local path or ``s3://bucket/key``."""

    manifest: str
    """Parquet file made by ``skinserve ingest``."""
    run: str
    """Folder of the run: its states, log, split and, in ``checkpoint/``, what it released."""
    split: str = ""
    """Stored split to use, ``split.parquet`` of another run; else ``val_fraction`` and ``seed`` draw one."""
    val_fraction: float
    name: str
    version: str
    init: str = "random"
    """First weights: random, imagenet (torchvision's), a folder of this machine with Keras's ResNet50 in
    TensorFlow.js's files (both lesion network only), or a checkpoint folder."""
    num_epochs: int
    batch_size: int
    """Examples per step on each worker."""
    learning_rate: float
    schedule: Literal["cosine", "plateau"] = "cosine"
    """cosine: a rise, then down to nothing; plateau: as SkinSense, lower when validation stalls."""
    warmup_fraction: float
    """Share of the steps in which a cosine schedule rises."""
    plateau_factor: float = 0.1
    plateau_patience: int = 3
    """Epochs without a better validation loss before a plateau schedule lowers the rate."""
    stop_patience: int = 0
    """Epochs without a better validation loss after which the run ends early; 0 never."""
    weight_decay: float
    dropout: float = 0.3
    max_grad_norm: float = 1.0
    ema_decay: float
    """Of the running mean of the weights, per step; the mean is what is evaluated and released."""
    freeze_batch_norm: bool = False
    """Keep the batch norm statistics of the first weights, as for fine-tuning with small batches."""
    release: Literal["last", "best"] = "last"
    """Epoch whose weights are released; best is by validation loss, and flatters the validation figures."""
    keep_states: int = 2
    """States of the best epochs that are kept beside the last one."""
    seed: int
    device: str = "cpu"
    """Of a run without Ray; under Ray ``--gpu`` decides."""
    bf16: bool = False
    """Compute in bfloat16 on devices with instructions for it; others compute in float32."""
    data_licence: str = ""
    """Empty: what the manifest says."""
    training_data: str = ""
    """Empty: what the manifest says."""

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
        if self.release == "best" and not self.keep_states:
            raise ValueError("release is best and keep_states 0; keep at least one state of the best epochs")
        if min(self.stop_patience, self.plateau_patience, self.keep_states) < 0:
            raise ValueError("stop_patience, plateau_patience and keep_states must not be negative")


@dataclass(frozen=True, kw_only=True)
class LesionTraining(Training):
    """Settings of one training run of the lesion network."""

    manifest: str = "data/ham10000/manifest.parquet"
    run: str = "runs/lesion"
    val_fraction: float = 0.15
    name: str = "lesion-reference"
    version: str = "2"
    input_px: int = 96
    start_px: int = 80
    """Side of the photos in the first part of the run; small photos teach most of it in less time."""
    start_fraction: float = 0.6
    """Share of the epochs at ``start_px``."""
    num_epochs: int = 28
    batch_size: int = 64
    learning_rate: float = 5e-4
    warmup_fraction: float = 0.1
    weight_decay: float = 0.05
    ema_decay: float = 0.997
    label_smoothing: float = 0.05
    balance_by: Literal["sampler", "loss"] = "sampler"
    """Draw rare classes more often, or let them count for more in the loss."""
    class_balance: float = 0.5
    """A class counts as its number of photos to the power of 1 minus this: 0 as it comes, 1 all alike."""
    mix_share: float = 0.5
    """Of the batches whose images are mixed with each other (mixup or CutMix)."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    augment: bool = True
    min_sensitivity: float | None = None
    """Sensitivity for malignant that the released threshold reaches on validation; none: threshold 0.5."""
    max_unreadable_share: float = 0.05
    """Of the photos that may be missing or damaged; they are left out and counted. More end the run."""
    cache: str = "runs/cache"
    """Folder for decoded photos on each machine, shared by its workers and by later runs."""
    seed: int = 1
    bf16: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 32 <= self.start_px <= self.input_px:
            raise ValueError(
                f"start_px is {self.start_px}, must lie between 32 and input_px, {self.input_px}"
            )
        for name in (
            "label_smoothing",
            "class_balance",
            "mix_share",
            "start_fraction",
            "max_unreadable_share",
        ):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}, must lie between 0 and 1")
        num_folds = max(2, round(1 / self.val_fraction))
        if abs(1 / num_folds - self.val_fraction) > 0.1 * self.val_fraction:
            raise ValueError(
                f"val_fraction is {self.val_fraction}; it parts equal folds: take 1/2, 1/3, 1/4, "
                f"and so on, here {1 / num_folds:.3f}"
            )
        if is_remote(self.cache):
            raise ValueError(f"cache is {self.cache}, must be a folder on each machine's own disk")
        if self.min_sensitivity is not None and not 0 < self.min_sensitivity < 1:
            raise ValueError(f"min_sensitivity is {self.min_sensitivity}, must lie between 0 and 1")

    def side_px(self, epoch: int) -> int:
        """Return the side of the training photos in ``epoch``, counted from 0."""
        return self.start_px if epoch < self.start_fraction * self.num_epochs else self.input_px


@dataclass(frozen=True, kw_only=True)
class ProgressTraining(Training):
    """Settings of one training run of the progress network."""

    manifest: str = "data/faces/manifest.parquet"
    run: str = "runs/progress"
    faces: str = ""
    """Folder of ``train.progress.extract_faces``: train on its labelled series; else series are drawn."""
    val_fraction: float = 0.28
    name: str = "progress-reference"
    version: str = "2"
    input_px: int = 80
    filters: tuple[int, int] = (20, 10)
    hidden: int = 32
    num_epochs: int = 8
    batches_per_epoch: int = 100
    """Of drawn series."""
    drawn_epochs: int = 2
    """Epochs whose series are drawn anew; later ones show the same again, which saves half the time."""
    batch_size: int = 16
    """Series; each is drawn once and learned from forwards and backwards, so the number is even."""
    learning_rate: float = 3e-3
    warmup_fraction: float = 0.15
    weight_decay: float = 0.02
    ema_decay: float = 0.99
    last_photo_weight: float = 0.5
    """Of the loss after the last photo; the rest is the mean of the losses after each photo."""
    temperature: float = 2.0
    """By which the logits are divided at release. 2 holds 9 in 10 series of four training people, whose skin
    does not change, between 0.2 and 0.8, by a network that did not learn from them."""
    num_val_sequences: int = 600
    seed: int = 3
    """Also of the split; 3 holds out six of our people by whom no network was chosen."""
    drawing: SequenceDrawing = field(default_factory=SequenceDrawing)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.init == "imagenet" or is_keras_resnet50(self.init):
            raise ValueError("imagenet weights are for the lesion network; use random or a checkpoint folder")
        if not 0 <= self.last_photo_weight <= 1:
            raise ValueError(f"last_photo_weight is {self.last_photo_weight}, must lie between 0 and 1")
        if self.batch_size < 2 or self.batch_size % 2:
            raise ValueError(
                f"batch_size is {self.batch_size}, must be even: series come forwards and backwards"
            )
        if min(self.batches_per_epoch, self.drawn_epochs, self.num_val_sequences) < 1:
            raise ValueError("batches_per_epoch, drawn_epochs and num_val_sequences must be positive")
        if self.temperature <= 0:
            raise ValueError(f"temperature is {self.temperature}, must be positive")


@dataclass(frozen=True, kw_only=True)
class Scale:
    """On what a run is computed; it changes nothing of what is learned but the size of a step."""

    workers: int = 1
    """Ray Train workers; 0 trains in this process, without Ray."""
    gpu: bool = False
    """One GPU for each worker."""
    cpus_per_worker: int = 0
    """0: the largest equal share with which all workers fit, node by node."""
    folds: int = 0
    """Train a network for each of so many folds, side by side as the cluster allows; 0: one network."""
    address: str = "local"
    """Of the Ray cluster: local starts one on this machine, auto joins the one that it is part of."""
    max_failures: int = 3
    """Workers that may die before the run is given up."""
    collective_timeout_s: int = 6 * 3600
    """Longest wait of a worker for the others, for instance while one node decodes its photos."""

    def __post_init__(self) -> None:
        if min(self.workers, self.cpus_per_worker, self.max_failures) < 0:
            raise ValueError("workers, cpus_per_worker and max_failures must not be negative")
        if self.collective_timeout_s < 1:
            raise ValueError(f"collective_timeout_s is {self.collective_timeout_s}, must be positive")
        if self.gpu and not self.workers:
            raise ValueError("--gpu is for Ray workers; without Ray name the device, --device cuda")
        if self.folds < 0 or self.folds == 1:
            raise ValueError(f"folds is {self.folds}, must be 0 for none, or at least 2")


@dataclass(frozen=True, kw_only=True)
class LesionJob:
    """A training run of the lesion network and what computes it."""

    training: LesionTraining
    scale: Scale = field(default_factory=Scale)


@dataclass(frozen=True, kw_only=True)
class ProgressJob:
    """A training run of the progress network and what computes it."""

    training: ProgressTraining
    scale: Scale = field(default_factory=Scale)


def resolved(config: Training) -> dict[str, Any]:
    """Return what was learned by as JSON can hold it, without the paths of one machine."""
    settings = {name: value for name, value in asdict(config).items() if name not in WHERE}
    if is_keras_resnet50(config.init):
        settings["init"] = "keras"
    else:
        settings["init"] = config.init if is_remote(config.init) else Path(config.init).name
    return json.loads(json.dumps(settings))
