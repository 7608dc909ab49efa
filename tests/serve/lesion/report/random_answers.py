"""Answers and reports of the lesion task as hypothesis strategies, with all texts that a client may send."""

from datetime import UTC, datetime
from typing import Any, get_args

from hypothesis import strategies as st

from models.limits import MAX_TOP_K
from serve.lesion.report.content import (
    MAX_MESSAGE_CHARS,
    MAX_NAME_CHARS,
    MAX_REASONS,
    Report,
    new_report,
)
from serve.lesion.schemas import DiagnosisScore, LesionAnswer
from serve.lesion.verdict import RISK_LEVELS, LesionThresholds
from serve.schemas import ModelName, Reason, ReasonCode

PROBABILITIES = st.floats(0, 1)
NAMES = st.text(max_size=MAX_NAME_CHARS)
MESSAGES = st.text(max_size=MAX_MESSAGE_CHARS) | st.sampled_from(
    ["W" * MAX_MESSAGE_CHARS, "漢" * MAX_MESSAGE_CHARS, "<script>alert(1)</script>", "\n" * MAX_MESSAGE_CHARS]
)
OTHER_CODES = [code for code in get_args(ReasonCode) if code != "near_threshold"]


@st.composite
def answers(draw: st.DrawFn) -> LesionAnswer:
    """Any answer that the schema and the bounds of reports accept."""
    benign, malignant = sorted([draw(PROBABILITIES), draw(PROBABILITIES)])
    codes = draw(st.lists(st.sampled_from(OTHER_CODES), max_size=MAX_REASONS - 1))
    content: dict[str, Any] = {
        "model": ModelName(name=draw(NAMES), version=draw(NAMES)),
        "usable": draw(st.booleans()),
        "threshold": malignant,
        "benign_threshold": benign,
        "verdict": "inconclusive",
        "malignant_probability": None,
        "risk_level": None,
        "diagnosis": None,
        "diagnoses": [],
        "lesion_box": None,
        "crop_box": None,
    }
    if content["usable"]:
        probability = draw(PROBABILITIES)
        verdict = LesionThresholds(benign=benign, malignant=malignant).verdict(probability)
        content |= {"verdict": verdict, "malignant_probability": probability, "crop_box": (0, 0, 8, 8)}
        content["risk_level"] = RISK_LEVELS[verdict]
        content["diagnoses"] = draw(st.lists(st.builds(DiagnosisScore, name=NAMES), max_size=MAX_TOP_K))
        content["diagnosis"] = next((one for one in content["diagnoses"] if one.group == verdict), None)
        codes += ["near_threshold"] if verdict == "inconclusive" else []
    else:
        codes = codes or ["too_dark"]
    content["reasons"] = [Reason(code=code, message=draw(MESSAGES)) for code in codes]
    return LesionAnswer(**content)


def report_of(answer: LesionAnswer, *, is_classified_here: bool = True) -> Report:
    """A report of this minute."""
    return new_report(
        answer,
        model_sha256="0123456789abcdef" * 4,
        is_classified_here=is_classified_here,
        created_at=datetime(2026, 3, 1, 9, 30, tzinfo=UTC),
        request_id="4f2a9c",
    )


def usable(probability: float, **changes: Any) -> LesionAnswer:
    """An answer with the thresholds 0.2 and 0.5."""
    thresholds = LesionThresholds(benign=0.2, malignant=0.5)
    verdict = thresholds.verdict(probability)
    near = Reason(code="near_threshold", message="the probability is between the thresholds")
    content = {
        "model": ModelName(name="lesion-fake", version="1"),
        "verdict": verdict,
        "usable": True,
        "reasons": [near] if verdict == "inconclusive" else [],
        "malignant_probability": probability,
        "threshold": thresholds.malignant,
        "benign_threshold": thresholds.benign,
        "risk_level": RISK_LEVELS[verdict],
        "diagnosis": None,
        "diagnoses": [
            DiagnosisScore(name="Nevus", group="benign", probability=0.7),
            DiagnosisScore(name="Melanoma", group="malignant", probability=0.3),
        ],
        "lesion_box": None,
        "crop_box": (0, 0, 48, 48),
    }
    return LesionAnswer(**content | changes)


def not_usable() -> LesionAnswer:
    """An answer about a black photo."""
    return LesionAnswer(
        model=ModelName(name="lesion-fake", version="1"),
        verdict="inconclusive",
        usable=False,
        reasons=[Reason(code="too_dark", message="the photo is black; take it again in daylight")],
        malignant_probability=None,
        threshold=0.5,
        benign_threshold=0.2,
        risk_level=None,
        diagnosis=None,
        diagnoses=[],
        lesion_box=None,
        crop_box=None,
    )
