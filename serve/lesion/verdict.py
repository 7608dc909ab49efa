"""The three-way verdict on a probability of malignancy. No Ray and no torch."""

from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator

from models.checkpoint import CheckpointError, CheckpointMeta
from serve.config import Settings
from serve.runtime.loaded_model import threshold_of

Verdict = Literal["benign", "malignant", "inconclusive"]
RiskLevel = Literal["low", "medium", "high"]

RISK_LEVELS: dict[Verdict, RiskLevel] = {"benign": "low", "inconclusive": "medium", "malignant": "high"}
"""Of usable photos."""


class LesionThresholds(Settings):
    """Probabilities of malignancy at which the verdict changes."""

    benign: float = Field(ge=0, le=1, description="benign below it")
    malignant: float = Field(ge=0, le=1, description="malignant from it on; inconclusive between both")

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.benign > self.malignant:
            raise ValueError(
                f"threshold benign is {self.benign:g} and malignant {self.malignant:g}; benign must be at "
                "most malignant"
            )
        return self

    def verdict(self, malignant_probability: float) -> Verdict:
        """Return the verdict.

        Raises:
            ValueError: the probability is NaN or not within 0 and 1.
        """
        if not 0 <= malignant_probability <= 1:  # true of NaN as well
            raise ValueError(
                f"the network returned {malignant_probability} as probability of malignancy, needed is 0 to 1"
            )
        if malignant_probability >= self.malignant:
            return "malignant"
        return "benign" if malignant_probability < self.benign else "inconclusive"


def thresholds_of(meta: CheckpointMeta) -> LesionThresholds:
    """Return the thresholds of a checkpoint; without ``benign`` both are the one of ``malignant``.

    Raises:
        CheckpointError: there is no threshold ``malignant``, or ``benign`` is above it.
    """
    malignant = threshold_of(meta, "malignant")
    benign = meta.thresholds.get("benign", malignant)
    try:
        return LesionThresholds(benign=benign, malignant=malignant)
    except ValidationError as error:
        raise CheckpointError(
            f"checkpoint {meta.name} has threshold benign {benign:g} above malignant {malignant:g}; release "
            "it again with benign at most malignant"
        ) from error
