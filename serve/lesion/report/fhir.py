"""Reports as FHIR R4B resource ``DiagnosticReport`` with contained ``Observation`` and ``Device``.

The tests validate it with ``fhir.resources.R4B``. Concepts of the model have text and no code: a probability
is no diagnosis, and record systems could import a coded one as made.
"""

from typing import Any

from serve.lesion.report.content import DISCLAIMER, SENT_ANSWER, TITLE, Report

_HL7 = "http://terminology.hl7.org/CodeSystem"
_UCUM = "http://unitsofmeasure.org"

_MODEL = "model"


def fhir_report(report: Report) -> dict[str, Any]:
    """Return the resource as JSON content; it names no patient."""
    observations = [_verdict(report), _malignant_probability(report), *_diagnoses(report)]
    return {
        "resourceType": "DiagnosticReport",
        "contained": [*observations, _device(report)],
        "identifier": [{"type": {"text": "X-Request-ID"}, "value": report.request_id}],
        "status": "preliminary",
        "code": {"text": TITLE},
        "issued": report.created_at.isoformat(timespec="seconds"),
        "result": [{"reference": f"#{observation['id']}"} for observation in observations],
        "conclusion": " ".join(
            [
                f"{report.headline}.",
                report.explanation,
                *([] if report.is_classified_here else [SENT_ANSWER]),
                DISCLAIMER,
            ]
        ),
    }


def _verdict(report: Report) -> dict[str, Any]:
    """Return the verdict, with named diagnosis and reasons as components."""
    answer = report.answer
    components = [_component(reason.code, reason.message) for reason in answer.reasons]
    if answer.diagnosis is not None:
        components.insert(0, _component("named diagnosis", answer.diagnosis.name))
    return {
        **_observation("verdict", "Verdict on the lesion"),
        "valueCodeableConcept": {"text": answer.verdict},
        **({"component": components} if components else {}),
    }


def _malignant_probability(report: Report) -> dict[str, Any]:
    answer = report.answer
    low, high = answer.benign_threshold, answer.threshold
    ranges: list[dict[str, Any]] = [
        {"high": _quantity(low), "text": f"benign below {low!r}"},
        {"low": _quantity(high), "text": f"malignant from {high!r}"},
    ]
    if low < high:
        text = f"inconclusive from {low!r} to below {high!r}"
        ranges.insert(1, {"low": _quantity(low), "high": _quantity(high), "text": text})
    value = (
        {"dataAbsentReason": {"text": "the photo is not usable"}}
        if answer.malignant_probability is None
        else {"valueQuantity": _quantity(answer.malignant_probability)}
    )
    return {
        **_observation("malignant-probability", "Probability that the lesion is malignant"),
        **value,
        "referenceRange": ranges,
    }


def _diagnoses(report: Report) -> list[dict[str, Any]]:
    """Return one observation for each diagnosis, in the order of the answer."""
    return [
        {
            **_observation(f"diagnosis-{rank}", f"Probability of the diagnosis {score.name}"),
            "valueQuantity": _quantity(score.probability),
            "component": [
                _component("diagnosis", score.name),
                _component("group of the diagnosis", score.group),
            ],
        }
        for rank, score in enumerate(report.answer.diagnoses, start=1)
    ]


def _device(report: Report) -> dict[str, Any]:
    versions = [{"type": {"text": "version of the model"}, "value": report.answer.model.version}]
    if report.model_sha256:
        versions.append({"type": {"text": "SHA-256 of the weights"}, "value": report.model_sha256})
    return {
        "resourceType": "Device",
        "id": _MODEL,
        "deviceName": [{"name": report.answer.model.name, "type": "model-name"}],
        "type": {"text": "Neural network that classifies photos of skin lesions"},
        "version": versions,
        "note": [{"text": DISCLAIMER}],
    }


def _observation(id: str, text: str) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": id,
        "status": "preliminary",
        "category": [{"coding": [{"system": f"{_HL7}/observation-category", "code": "imaging"}]}],
        "code": {"text": text},
        "device": {"reference": f"#{_MODEL}"},
    }


def _component(name: str, value: str) -> dict[str, Any]:
    return {"code": {"text": name}, "valueString": value}


def _quantity(probability: float) -> dict[str, Any]:
    return {"value": probability, "unit": "1", "system": _UCUM, "code": "1"}
