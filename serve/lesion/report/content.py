"""Content of a report, the same as PDF and as FHIR."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from models.limits import MAX_TOP_K
from serve.lesion.schemas import DiagnosisScore, LesionAnswer
from serve.runtime.errors import ApiError
from serve.schemas import DISCLAIMER as DISCLAIMER
from serve.schemas import ModelName, Reason

MAX_NAME_CHARS = 60
"""Of a model, a version or a diagnosis."""
MAX_REASONS = 6
MAX_MESSAGE_CHARS = 400
"""Of one reason."""

TITLE = "Report on a photo of a skin lesion"
SENT_ANSWER = (
    "The values were sent to this server as an answer of POST /v1/lesion. The server did not check that it "
    "gave this answer."
)
"""Note in reports without a photo: an answer is not signed."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """An answer of the lesion task with its origin."""

    answer: LesionAnswer
    """Texts are printable and bounded."""
    model_sha256: str | None
    """Of the weights; None: this server does not have the model."""
    is_classified_here: bool
    """False: the client sent the answer."""
    created_at: datetime
    """UTC."""
    request_id: str

    @property
    def headline(self) -> str:
        """Return the verdict in a few words."""
        if not self.answer.usable:
            return "No verdict: the photo is not usable"
        return {
            "benign": "Verdict: benign",
            "malignant": "Verdict: malignant",
            "inconclusive": "Verdict: inconclusive",
        }[self.answer.verdict]

    @property
    def explanation(self) -> str:
        """Return the verdict in sentences, with probability and thresholds."""
        answer = self.answer
        probability, benign, malignant = self.percentages
        if probability is None:
            return (
                "The photo was not classified, so it shows neither that the lesion is benign nor that it is "
                "malignant. Take another photo. If the lesion worries you, show it to a doctor."
            )
        found = f"The model gives {probability} as the probability that the lesion is malignant."
        if answer.verdict == "malignant":
            return (
                f"{found} The verdict is malignant from {malignant}. Make an appointment with a doctor now. "
                "This is no proof of cancer: only a doctor can tell what the lesion is."
            )
        if answer.verdict == "benign" and any(reason.code == "blurred" for reason in answer.reasons):
            return (
                f"{found} The verdict is benign below {benign}, but the photo is too blurred to rely on. "
                "Take a sharp photo. If you cannot get one, show the lesion to a doctor."
            )
        if answer.verdict == "benign":
            return (
                f"{found} The verdict is benign below {benign}. If the lesion grows, changes its shape or "
                "colour, itches or bleeds, show it to a doctor."
            )
        return (
            f"{found} The verdict is inconclusive from {benign} to below {malignant}: the model cannot tell "
            "whether the lesion is benign or malignant. Show it to a doctor, and do not wait for "
            "a better photo."
        )

    @property
    def threshold_text(self) -> str:
        """Return the rule of the verdict."""
        _, benign, malignant = self.percentages
        if benign == malignant:
            return f"benign below {benign}, malignant from {malignant}"
        return f"benign below {benign}, inconclusive from {benign}, malignant from {malignant}"

    @property
    def percentages(self) -> tuple[str | None, str, str]:
        """Return probability, benign and malignant threshold; rounding never changes their order."""
        answer = self.answer
        values = [answer.benign_threshold, answer.threshold]
        if answer.malignant_probability is not None:
            values.append(answer.malignant_probability)
        benign, malignant, *probability = in_order_percentages(values)
        return probability[0] if probability else None, benign, malignant


def new_report(
    answer: LesionAnswer,
    *,
    model_sha256: str | None,
    is_classified_here: bool,
    created_at: datetime,
    request_id: str,
) -> Report:
    """Build a report.

    Raises:
        ApiError: ``invalid_request``, an answer with more text than ``POST /v1/lesion`` sends.
    """
    _check_bounds(answer)
    clean = answer.model_copy(
        update={
            "model": ModelName(
                name=printable(answer.model.name) or "unknown",
                version=printable(answer.model.version) or "unknown",
            ),
            "reasons": [
                Reason(code=reason.code, message=printable(reason.message) or reason.code)
                for reason in answer.reasons
            ],
            "diagnosis": _clean(answer.diagnosis) if answer.diagnosis else None,
            "diagnoses": list(map(_clean, answer.diagnoses)),
            "heatmap_png": None,
        }
    )
    return Report(
        answer=clean,
        model_sha256=model_sha256,
        is_classified_here=is_classified_here,
        created_at=created_at,
        request_id=request_id,
    )


def in_order_percentages(values: Sequence[float]) -> list[str]:
    """Format probabilities as percentages with as few digits, from three, as keep their order."""
    for digits in range(3, 18):
        shown = [float(f"{value:.{digits}g}") for value in values]
        if all(_order(shown, index) == _order(values, index) for index in range(len(values))):
            break
    else:
        shown = list(values)
    return [_percentage(value) for value in shown]


def percentage(probability: float) -> str:
    """Format the probability of a diagnosis."""
    if 0 < probability < 0.001:
        return "<0.1%"
    if 0.999 < probability < 1:
        return ">99.9%"
    return f"{100 * probability:.1f}%"


def printable(text: str) -> str:
    """Replace control characters, line breaks and direction marks by spaces, and join the spaces."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def _order(values: Sequence[float], index: int) -> list[int]:
    return [(values[index] > other) - (values[index] < other) for other in values]


def _percentage(value: float) -> str:
    return f"{(100 * Decimal(repr(value))).normalize():f}%"


def _clean(score: DiagnosisScore) -> DiagnosisScore:
    return score.model_copy(update={"name": printable(score.name) or "unnamed"})


def _check_bounds(answer: LesionAnswer) -> None:
    scores = [*answer.diagnoses, *([answer.diagnosis] if answer.diagnosis else [])]
    names = [answer.model.name, answer.model.version, *(score.name for score in scores)]
    found = None
    if len(answer.diagnoses) > MAX_TOP_K:
        found = f"{len(answer.diagnoses)} diagnoses, at most {MAX_TOP_K} are"
    elif len(answer.reasons) > MAX_REASONS:
        found = f"{len(answer.reasons)} reasons, at most {MAX_REASONS} are"
    elif any(len(name) > MAX_NAME_CHARS for name in names):
        found = f"a name of more than {MAX_NAME_CHARS} characters, which are"
    elif any(len(reason.message) > MAX_MESSAGE_CHARS for reason in answer.reasons):
        found = f"a reason of more than {MAX_MESSAGE_CHARS} characters, which are"
    if found is not None:
        raise ApiError(
            "invalid_request",
            f"the answer has {found} allowed; send the JSON of POST /v1/lesion as it is",
        )
