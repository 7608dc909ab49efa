"""What a training run is told: one frozen, complete dataclass for each network."""

from dataclasses import dataclass, field
from pathlib import Path

from models.transforms import Augmentation


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
