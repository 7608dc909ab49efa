"""Reports on one photo of a lesion, as PDF or FHIR."""
