"""Fields of a complete feedback, as a client sends them."""

FIELDS = {
    "task": "lesion",
    "model_name": "lesion-reference",
    "model_version": "6",
    "verdict": "benign",
    "malignant_probability": "0.14",
    "request_id": "4f2a9c",
    "correct": "no",
    "diagnosis": "Melanoma",
    "confirmed_by": "histopathology",
    "consent": "true",
}
"""Without a photo."""
WITH_PHOTO = FIELDS | {"photo_consent": "true"}
