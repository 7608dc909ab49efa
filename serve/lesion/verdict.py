"""The three-way verdict on a probability of malignancy. No Ray and no torch."""

from typing import Literal, Self

from pydantic import Field, model_validator

from serve.schemas import Body

Verdict = Literal["benign", "malignant", "inconclusive"]
RiskLevel = Literal["low", "medium", "high"]

RISK_LEVELS: dict[Verdict, RiskLevel] = {"benign": "low", "inconclusive": "medium", "malignant": "high"}
"""Of usable photos."""


class LesionThresholds(Body):
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
