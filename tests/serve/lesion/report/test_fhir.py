from typing import Any

import orjson
import pytest
from fhir.resources.R4B.device import Device
from fhir.resources.R4B.diagnosticreport import DiagnosticReport
from hypothesis import given

from serve.lesion.report.fhir import fhir_report
from serve.lesion.schemas import LesionAnswer
from serve.schemas import DISCLAIMER
from tests.serve.lesion.report.random_answers import answers, not_usable, report_of, usable


def validated(answer: LesionAnswer, *, is_classified_here: bool = True) -> Any:
    content = fhir_report(report_of(answer, is_classified_here=is_classified_here))
    return DiagnosticReport.model_validate_json(orjson.dumps(content))


@given(answers())
def test_every_report_is_valid_r4b(answer: LesionAnswer):
    report = validated(answer)

    assert len(report.contained) == 3 + len(answer.diagnoses)
    assert [one.reference for one in report.result] == [f"#{one.id}" for one in report.contained[:-1]]
    assert {one.status for one in (report, *report.contained[:-1])} == {"preliminary"}


def test_a_report_has_verdict_probability_with_thresholds_and_diagnoses():
    report = validated(usable(0.3))

    verdict, probability, nevus, melanoma, model = report.contained
    assert verdict.valueCodeableConcept.text == "inconclusive"
    assert [(one.code.text, one.valueString) for one in verdict.component] == [
        ("near_threshold", "the probability is between the thresholds")
    ]
    assert float(probability.valueQuantity.value) == 0.3 and probability.valueQuantity.code == "1"
    assert [one.text for one in probability.referenceRange] == [
        "benign below 0.2",
        "inconclusive from 0.2 to below 0.5",
        "malignant from 0.5",
    ]
    assert [float(one.valueQuantity.value) for one in (nevus, melanoma)] == [0.7, 0.3]
    assert nevus.code.text == "Probability of the diagnosis Nevus"
    assert (model.__class__, model.deviceName[0].name) == (Device, "lesion-fake")
    assert [one.value for one in model.version] == ["1", "0123456789abcdef" * 4]
    assert report.identifier[0].value == "4f2a9c" and report.issued.isoformat() == "2026-03-01T09:30:00+00:00"


def test_a_report_names_the_disclaimer_and_no_patient():
    report = validated(usable(0.6))

    assert report.conclusion.startswith("Verdict: malignant. ") and report.conclusion.endswith(DISCLAIMER)
    assert report.subject is None and all(one.subject is None for one in report.contained[:-1])


def test_the_named_diagnosis_is_a_component_of_the_verdict():
    answer = usable(0.6)
    verdict = validated(answer.model_copy(update={"diagnosis": answer.diagnoses[1]})).contained[0]

    assert [(one.code.text, one.valueString) for one in verdict.component] == [
        ("named diagnosis", "Melanoma")
    ]


def test_a_photo_that_is_not_usable_has_no_probability_and_says_why():
    report = validated(not_usable())

    verdict, probability, _ = report.contained
    assert probability.valueQuantity is None
    assert probability.dataAbsentReason.text == "the photo is not usable"
    assert verdict.component[0].code.text == "too_dark"
    assert "the photo is not usable" in report.conclusion


@pytest.mark.parametrize("is_classified_here", [True, False])
def test_a_report_of_a_sent_answer_says_that_it_was_not_checked(is_classified_here: bool):
    report = validated(usable(0.1), is_classified_here=is_classified_here)

    assert ("did not check" in report.conclusion) != is_classified_here
