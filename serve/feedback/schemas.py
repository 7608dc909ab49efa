"""Fields of feedback: HTTP bodies and stored records. No Ray and no torch."""

import base64
import unicodedata
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator

from serve.schemas import Body, Group

MAX_TEXT_CHARS = 200
RECORD_FORMAT = 1
UNCONFIRMED = "not_confirmed"

Correct = Literal["yes", "no", "unknown"]
Confirmation = Literal["histopathology", "doctor", "not_confirmed"]

_INVISIBLE = ("Cc", "Cs", "Zl", "Zp")
"""Unicode categories of control characters, surrogates and line separators."""
_BIDI_CONTROLS = frozenset("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
"""In place of bytes that are not UTF-8."""


def _check_text(text: str) -> str:
    for character in text:
        if unicodedata.category(character) in _INVISIBLE or character in _BIDI_CONTROLS:
            raise ValueError(
                f"must be text of one line without control characters, not U+{ord(character):04X}"
            )
    if _REPLACEMENT in text:
        raise ValueError("must be text in UTF-8")
    return text


_Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT_CHARS), AfterValidator(_check_text)]
_Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^\w[\w .+-]*$")]


@dataclass(frozen=True, kw_only=True)
class FeedbackRules:
    """Define the feedback that a task accepts.

    Attributes:
        verdicts: of its answers.
        labels: diagnoses with a group; empty: its answers have none, and no malignant probability.
        takes_photo: whether one photo belongs to an answer.
    """

    verdicts: tuple[str, ...]
    labels: tuple[str, ...] = ()
    takes_photo: bool = False


class Feedback(Body):
    """What a person reports about one answer; nothing about the person."""

    task: str = Field(examples=["lesion"])
    model_name: _Name = Field(description="of the answer, as its version", examples=["lesion-reference"])
    model_version: _Name = Field(examples=["6"])
    verdict: str = Field(description="of the answer", examples=["benign"])
    malignant_probability: float | None = Field(
        default=None, ge=0, le=1, allow_inf_nan=False, description="of an answer about a lesion"
    )
    request_id: str = Field(
        pattern=r"^[A-Za-z0-9._-]{1,64}$", description="the X-Request-ID of the answer", examples=["4f2a9c"]
    )
    correct: Correct = Field(description="was the answer right?")
    diagnosis: str | None = Field(
        default=None, description="what a doctor found: a label of the taxonomy", examples=["Nevus"]
    )
    group: Group | None = Field(default=None, description="what a doctor found, without a diagnosis")
    text: _Text | None = Field(default=None, description="what a doctor found, in words")
    confirmed_by: Confirmation = Field(default=UNCONFIRMED, description="how the finding was confirmed")


class FeedbackRecord(Feedback):
    """One stored feedback, with its photo in the same file."""

    format: Literal[1] = RECORD_FORMAT
    received_on: date = Field(description="UTC; no time of day is stored")
    photo_jpeg: str | None = Field(default=None, description="base64 of the re-encoded photo")

    @field_validator("photo_jpeg")
    @classmethod
    def _check_base64(cls, photo: str | None) -> str | None:
        if photo is not None:
            base64.b64decode(photo, validate=True)  # binascii.Error is a ValueError
        return photo

    @property
    def photo(self) -> bytes | None:
        """Return the JPEG file."""
        return None if self.photo_jpeg is None else base64.b64decode(self.photo_jpeg)

    @property
    def model(self) -> str:
        """Return ``name@version``."""
        return f"{self.model_name}@{self.model_version}"


class FeedbackReceipt(Body):
    """Response of ``POST /v1/feedback``."""

    receipt: str = Field(
        description="deletes the feedback: DELETE /v1/feedback/{receipt}; shown once, the server cannot "
        "show it again",
        examples=["q0hXo2n8mIYd3Hn4b5a7Zg1f3"],
    )
    photo_stored: bool
