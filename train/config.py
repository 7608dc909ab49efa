"""What a training run is told: one frozen, complete dataclass for each network."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from models.transforms import Augmentation
from train.drawing import SequenceDrawing


@dataclass(frozen=True, kw_only=True)
class LesionTraining:
    """Settings of one training run of the lesion network."""

    manifest: Path = Path("data/ham10000/manifest.csv")
    """CSV with the columns image, label, group; see ``python -m train.ingest --help``."""
    run: Path = Path("runs/lesion")
    """Folder of the run: state after every epoch, log, and the checkpoint in ``checkpoint/``."""
    name: str = "lesion-reference"
    version: str = "1"
    input_px: int = 80
    start_px: int = 64
    """Side of the photos in the first part of the run; small photos teach most of it in less time."""
    start_fraction: float = 0.6
    """Share of the epochs at ``start_px``."""
    num_epochs: int = 28
    batch_size: int = 64
    learning_rate: float = 5e-4
    weight_decay: float = 0.05
    warmup_fraction: float = 0.2
    dropout: float = 0.3
    label_smoothing: float = 0.05
    class_balance: float = 0.5
    """A class is drawn as often as its count to the power of 1 minus this: 0 as it comes, 1 all alike."""
    mix_share: float = 0.5
    """Of the batches whose images are mixed with each other (mixup or CutMix)."""
    max_grad_norm: float = 1.0
    ema_decay: float = 0.995
    """Of the running mean of the weights, per step; the mean is what is released."""
    val_fraction: float = 0.15
    seed: int = 1
    device: str = "cpu"
    bf16: bool = True
    augmentation: Augmentation = field(default_factory=Augmentation)
    data_licence: str = "CC BY-NC 4.0"
    training_data: str = "HAM10000 (Tschandl et al. 2018, doi:10.1038/sdata.2018.161)"

    def __post_init__(self) -> None:
        if not 0 < self.val_fraction < 1:
            raise ValueError(f"val_fraction is {self.val_fraction}, must lie between 0 and 1")
        if not 32 <= self.start_px <= self.input_px:
            raise ValueError(
                f"start_px is {self.start_px}, must lie between 32 and input_px, {self.input_px}"
            )
        if min(self.num_epochs, self.batch_size) < 1 or self.learning_rate <= 0:
            raise ValueError("num_epochs, batch_size and learning_rate must be positive")

    def side_px(self, epoch: int) -> int:
        """Return the side of the training photos in ``epoch``, counted from 0."""
        return self.start_px if epoch < self.start_fraction * self.num_epochs else self.input_px


@dataclass(frozen=True, kw_only=True)
class ProgressTraining:
    """Settings of one training run of the progress network."""

    manifest: Path = Path("data/faces/manifest.csv")
    """CSV with the columns image, label (not used), group (person); see ``python -m train.ingest --help``."""
    run: Path = Path("runs/progress")
    """Folder of the run: state after every epoch, log, and the checkpoint in ``checkpoint/``."""
    name: str = "progress-reference"
    version: str = "1"
    input_px: int = 80
    filters: tuple[int, int] = (20, 10)
    hidden: int = 32
    dropout: float = 0.3
    num_epochs: int = 10
    batches_per_epoch: int = 100
    batch_size: int = 16
    """Series; each is drawn once and learned from forwards and backwards, so the number is even."""
    learning_rate: float = 3e-3
    weight_decay: float = 0.02
    warmup_fraction: float = 0.15
    last_photo_weight: float = 0.5
    """Of the loss after the last photo; the rest is the mean of the losses after each photo."""
    max_grad_norm: float = 1.0
    ema_decay: float = 0.99
    """Of the running mean of the weights, per step; the mean is what is released."""
    val_fraction: float = 0.28
    num_val_sequences: int = 600
    seed: int = 3
    """Also of the split; 3 holds out six of our people by whom no network was chosen."""
    device: str = "cpu"
    drawing: SequenceDrawing = field(default_factory=SequenceDrawing)
    data_licence: str = "CC BY 4.0"
    training_data: str = (
        "Caltech-101 faces, 18 people (Li et al. 2022, doi:10.22002/D1.20086), lesions drawn by train/skin.py"
    )

    def __post_init__(self) -> None:
        if not 0 < self.val_fraction < 1:
            raise ValueError(f"val_fraction is {self.val_fraction}, must lie between 0 and 1")
        if not 0 <= self.last_photo_weight <= 1:
            raise ValueError(f"last_photo_weight is {self.last_photo_weight}, must lie between 0 and 1")
        if self.batch_size < 2 or self.batch_size % 2:
            raise ValueError(
                f"batch_size is {self.batch_size}, must be even: series come forwards and backwards"
            )
        if (
            min(self.num_epochs, self.batches_per_epoch, self.num_val_sequences) < 1
            or self.learning_rate <= 0
        ):
            raise ValueError(
                "num_epochs, batches_per_epoch, num_val_sequences and learning_rate must be positive"
            )


def resolved(config: LesionTraining | ProgressTraining) -> dict[str, Any]:
    """Return the settings of a run as JSON can hold them, without the paths of one machine."""
    settings = {name: value for name, value in asdict(config).items() if name not in ("manifest", "run")}
    return json.loads(json.dumps(settings))
