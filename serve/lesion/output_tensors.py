"""Outputs of the lesion task in the Open Inference Protocol. Axes: N photo, K label."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from serve.lesion.schemas import LesionAnswer
from serve.open_inference.messages import Data
from serve.schemas import ErrorDetail

ANSWER, ERROR = "answer", "error"
"""Names of outputs."""
_NO_BOX = (-1, -1, -1, -1)

Result = LesionAnswer | ErrorDetail
"""Of one photo."""


def output_tensors(
    names: Iterable[str], results: Sequence[Result], labels: Sequence[str], *, top_k: int
) -> dict[str, Data]:
    """Return the requested outputs.

    Args:
        names: of the outputs.
        results: with all diagnoses; an error has empty texts, probabilities NaN and the box -1.
        labels: of the model.
        top_k: diagnoses in the output ``answer``.
    """
    answers = [None if isinstance(one, ErrorDetail) else one for one in results]
    tensors: dict[str, Data] = {}
    for name in names:
        if name == ERROR:
            tensors[name] = [
                one.model_dump_json().encode() if isinstance(one, ErrorDetail) else b"" for one in results
            ]
        elif name == ANSWER:
            tensors[name] = [b"" if one is None else _answer(one, top_k) for one in answers]
        elif name == "diagnoses":
            tensors[name] = _diagnoses(answers, labels)
        elif name == "labels":
            tensors[name] = [label.encode() for label in labels]
        elif name in _TEXTS:
            tensors[name] = [b"" if one is None else _TEXTS[name](one).encode() for one in answers]
        else:
            tensors[name] = _ARRAYS[name](answers)
    return tensors


def _answer(answer: LesionAnswer, top_k: int) -> bytes:
    return answer.model_copy(update={"diagnoses": answer.diagnoses[:top_k]}).model_dump_json().encode()


def _reasons(answer: LesionAnswer) -> str:
    return json.dumps([reason.model_dump() for reason in answer.reasons], ensure_ascii=False)


def _diagnoses(answers: Sequence[LesionAnswer | None], labels: Sequence[str]) -> np.ndarray:
    column = {label: index for index, label in enumerate(labels)}
    scores_NK = np.full((len(answers), len(labels)), np.nan, np.float32)
    for row, answer in enumerate(answers):
        for score in answer.diagnoses if answer is not None else ():
            scores_NK[row, column[score.name]] = score.probability
    return scores_NK


def _usable(answers: Sequence[LesionAnswer | None]) -> np.ndarray:
    return np.array([one is not None and one.usable for one in answers])


def _malignant_probability(answers: Sequence[LesionAnswer | None]) -> np.ndarray:
    found = [one.malignant_probability if one is not None else None for one in answers]
    return np.array([np.nan if one is None else one for one in found], np.float32)


def _lesion_boxes(answers: Sequence[LesionAnswer | None]) -> np.ndarray:
    boxes = [(one.lesion_box if one is not None else None) or _NO_BOX for one in answers]
    return np.array(boxes, np.dtype("<i4"))


_TEXTS: Mapping[str, Callable[[LesionAnswer], str]] = {
    "verdict": lambda answer: answer.verdict,
    "diagnosis": lambda answer: answer.diagnosis.name if answer.diagnosis is not None else "",
    "reasons": _reasons,
}
_ARRAYS: Mapping[str, Callable[[Sequence[LesionAnswer | None]], np.ndarray]] = {
    "usable": _usable,
    "malignant_probability": _malignant_probability,
    "lesion_box": _lesion_boxes,
}
