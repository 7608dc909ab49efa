"""The verdict on a series from its probability of improvement. No torch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

ChangeVerdict = Literal["improved", "worsened", "no_clear_change"]


@dataclass(frozen=True, kw_only=True)
class VerdictThresholds:
    """Lowest probabilities of the verdicts ``improved`` and ``worsened``."""

    improved: float
    worsened: float | None = None
    """None: no third verdict, as in checkpoints before ``no_clear_change``."""

    def __post_init__(self) -> None:
        if self.worsened is not None and self.improved + self.worsened <= 1:
            raise ValueError(
                f"thresholds improved {self.improved} and worsened {self.worsened} overlap; their sum must "
                "be above 1"
            )

    @classmethod
    def of(cls, thresholds: Mapping[str, float]) -> "VerdictThresholds":
        """Read the thresholds of a checkpoint.

        Raises:
            KeyError: there is no threshold ``improved``.
            ValueError: the thresholds overlap.
        """
        return cls(improved=thresholds["improved"], worsened=thresholds.get("worsened"))

    def stored(self) -> dict[str, float]:
        """Return the thresholds as a checkpoint stores them."""
        return {"improved": self.improved} | ({} if self.worsened is None else {"worsened": self.worsened})

    def verdict(self, improved_probability: float) -> ChangeVerdict:
        """Return the verdict for a probability of improvement.

        Raises:
            ValueError: the probability is NaN.
        """
        if math.isnan(improved_probability):
            raise ValueError(
                "the probability of improvement is NaN, a number is needed; load the network again"
            )
        if improved_probability >= self.improved:
            return "improved"
        if self.worsened is None or 1 - improved_probability >= self.worsened:
            return "worsened"
        return "no_clear_change"

    def is_improved(self, improved_probability: float) -> bool:
        """Choose between improved and worsened, for clients without a third class."""
        return improved_probability >= (self.improved if self.worsened is None else 0.5)
