"""Settings of a training run of the lesion network."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from models.preprocessing import Augmentation
from models.storage import is_remote
from train.config import Training


@dataclass(frozen=True, kw_only=True)
class LesionTraining(Training):
    """Settings of one training run of the lesion network."""

    PATHS: ClassVar[tuple[str, ...]] = (*Training.PATHS, "cache")

    manifest: str = "data/ham10000/manifest.parquet"
    run: str = "runs/lesion"
    val_fraction: float = 0.15
    name: str = "lesion-reference"
    version: str = "2"
    init: str = "random"
    """Initial weights: random; imagenet (torchvision's ResNet50); the address of a safetensors file with the
    weights of a ResNet50 by torchvision's names; or the address of a checkpoint folder."""
    input_px: int = 96
    start_px: int = 80
    """Side of the photos in the first part of the run; small photos take less time."""
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
    """Sample rare classes more often, or weight them in the loss."""
    class_balance: float = 0.5
    """A class counts as its number of photos to the power of 1 minus this: 0 unbalanced, 1 uniform."""
    mix_share: float = 0.5
    """Share of the batches with mixup or CutMix."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    augment: bool = True
    min_sensitivity: float | None = None
    """Sensitivity for malignant that the released threshold reaches in validation; None: threshold 0.5."""
    ranking_exponent: float = 0.0
    """Diagnoses are ranked by probability / (share of the training set) ** exponent; 0: by probability."""
    max_unreadable_share: float = 0.05
    """Largest share of missing or damaged photos; they are skipped and logged. More end the run."""
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
        shares = (
            "label_smoothing",
            "class_balance",
            "mix_share",
            "start_fraction",
            "ranking_exponent",
            "max_unreadable_share",
        )
        for name in shares:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}, must lie between 0 and 1")
        num_folds = max(2, round(1 / self.val_fraction))
        if abs(1 / num_folds - self.val_fraction) > 0.1 * self.val_fraction:
            raise ValueError(
                f"val_fraction is {self.val_fraction}; the split has equal folds: take 1/2, 1/3, 1/4, "
                f"and so on, here {1 / num_folds:.3f}"
            )
        if is_remote(self.cache):
            raise ValueError(f"cache is {self.cache}, must be a folder on each machine's own disk")
        if self.min_sensitivity is not None and not 0 < self.min_sensitivity < 1:
            raise ValueError(f"min_sensitivity is {self.min_sensitivity}, must lie between 0 and 1")

    def side_px(self, epoch: int) -> int:
        """Return the side of the training photos in ``epoch``, counted from 0."""
        return self.start_px if epoch < self.start_fraction * self.num_epochs else self.input_px
