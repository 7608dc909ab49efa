import pytest

from serve.lesion.report.media_types import FHIR, PDF, preferred_types


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", [PDF, FHIR]),
        ("*/*", [PDF, FHIR]),
        ("application/*", [PDF, FHIR]),
        ("application/json, text/plain, */*", [PDF, FHIR]),
        ("application/pdf", [PDF]),
        ("Application/FHIR+JSON; fhirVersion=4.3", [FHIR]),
        ("application/pdf;q=0.5, application/fhir+json", [FHIR, PDF]),
        ("application/fhir+json, */*;q=0.1", [FHIR, PDF]),
        ("application/pdf;q=0, */*", [FHIR]),
        ("*/*;q=0", []),
        ("text/html", []),
        ("application/json", []),
        ("application/pdf;q=2", [PDF]),
        (",;,", []),
    ],
)
def test_types_are_in_the_order_of_the_header(accept: str, expected: list[str]):
    assert preferred_types(accept) == expected
