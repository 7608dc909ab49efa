"""Correct the guessed languages of notes that are too short to recognise."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from train.data.labels.notes import script_of

MIN_CHARACTERS = 20
"""AWS advises not to detect the language of shorter texts."""
MIN_SCORE = 0.7
"""Comprehend's confidence in the language of a longer note is mostly above 0.9."""


class Guess(NamedTuple):
    """Guessed language of a note, empty if none, and its confidence, 0 to 1."""

    language: str
    score: float


def languages_of(guesses: Mapping[str, Guess]) -> dict[str, str]:
    """Return the language of each text; replace unsure guesses by the main language.

    A guess is unsure for a short text or a low confidence. The main language is that of more than half of
    the other guesses in texts of the same script: a short note in Hindi among English ones stays Hindi.
    """
    sure: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for text, guess in guesses.items():
        if _is_sure(text, guess):
            sure[script_of(text)][guess.language] += 1
    main = {script: counts.most_common(1)[0] for script, counts in sure.items()}
    majority = {script: name for script, (name, num) in main.items() if 2 * num > sure[script].total()}
    return {
        text: guess.language if _is_sure(text, guess) else majority.get(script_of(text), guess.language)
        for text, guess in guesses.items()
    }


def _is_sure(text: str, guess: Guess) -> bool:
    return bool(guess.language) and len(text) >= MIN_CHARACTERS and guess.score >= MIN_SCORE
