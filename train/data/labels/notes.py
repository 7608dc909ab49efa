"""Prepare notes for a service: valid text, and at most so many bytes."""

import re
import unicodedata

_ZERO_WIDTH_JOINER = "\u200d"
_VIRAMA = 9
"""Combining class of the sign that joins two consonants of Devanagari and related scripts."""


def clean(note: str) -> str:
    """Return a note as valid UTF-8 text without surrounding white space."""
    return note.strip().encode(errors="replace").decode()  # JSON may contain lone surrogates


def truncate_to_bytes(note: str, max_bytes: int) -> str:
    """Return the beginning of a note with at most ``max_bytes`` of UTF-8.

    The cut is at the last white space of the second half, or else between two characters as a reader sees
    them: vowel signs, joined consonants and emoji of several code points stay whole.
    """
    text = clean(note)
    content = text.encode()
    if len(content) <= max_bytes:
        return text
    end = len(content[:max_bytes].decode(errors="ignore"))
    spaces = [match.start() for match in re.finditer(r"\s", text[: end + 1])]
    if spaces and spaces[-1] > end // 2:
        return text[: spaces[-1]].rstrip()
    while end > 0 and _joined(text[end - 1], text[end]):
        end -= 1
    return text[:end]


def script_of(text: str) -> str:
    """Return the most frequent script of a text's letters, such as LATIN or DEVANAGARI."""
    names = [unicodedata.name(letter, "").partition(" ")[0] for letter in text if letter.isalpha()]
    return max(dict.fromkeys(names), key=names.count, default="")


def _joined(left: str, right: str) -> bool:
    """Check whether two code points belong to one character of a reader."""
    return (
        unicodedata.category(right).startswith("M")
        or _ZERO_WIDTH_JOINER in (left, right)
        or unicodedata.combining(left) == _VIRAMA
        or "\U0001f3fb" <= right <= "\U0001f3ff"  # skin tone of an emoji
    )
