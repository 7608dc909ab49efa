"""Decide whether a photo is usable and build its answer, for the API and for bulk scoring."""

from collections.abc import Sequence
from dataclasses import dataclass

from models.lesion.gate import LesionGate, find_problems_after, find_problems_before, find_weaknesses
from models.lesion.preparation import PreparedLesion
from models.photo_quality import Problem
from serve.lesion.answers import unusable_answer, usable_answer
from serve.lesion.messages import LesionReport
from serve.lesion.schemas import LesionAnswer
from serve.lesion.verdict import LesionThresholds
from serve.schemas import ModelName


@dataclass(frozen=True, kw_only=True)
class AnswerRules:
    """Name, thresholds and gate of one lesion model."""

    model: ModelName
    thresholds: LesionThresholds
    gate: LesionGate | None

    def problems_before(self, prepared: PreparedLesion) -> list[Problem]:
        """Return why a photo is not usable, without the network; [] if it may be usable."""
        return find_problems_before(prepared, self.gate) if self.gate else list(prepared.problems)

    def problems_after(self, prepared: PreparedLesion, report: LesionReport) -> list[Problem]:
        """Return why a classified photo is not usable; [] if it is usable."""
        return find_problems_after(prepared, self.gate, report.scope) if self.gate else []

    def unusable(
        self, prepared: PreparedLesion, problems: Sequence[Problem], *, is_classified: bool
    ) -> LesionAnswer:
        """Build the answer for a photo that is not usable.

        Args:
            problems: at least one.
            is_classified: whether the network read the photo.
        """
        return unusable_answer(
            problems,
            prepared,
            model=self.model,
            thresholds=self.thresholds,
            is_classified=is_classified,
        )

    def usable(
        self, prepared: PreparedLesion, report: LesionReport, *, top_k: int, heatmap_png: str | None = None
    ) -> LesionAnswer:
        """Build the answer for a photo that is usable."""
        weaknesses = find_weaknesses(prepared, self.gate) if self.gate else []
        return usable_answer(report, prepared, weaknesses, top_k=top_k, heatmap_png=heatmap_png)
