"""Answers of a paid service in a local file, found by the sha256 of the text; the text is not kept."""

import hashlib
import json
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from train.data.labels.sentiment import LabelError


class AnswerCache:
    """A table of answers; what was put in is there after a crash.

    Args:
        file: made if it does not exist.

    Raises:
        LabelError: the file cannot be opened, or is something else.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._table = sqlite3.connect(file)
            with self._table:
                self._table.execute(
                    "CREATE TABLE IF NOT EXISTS answer "
                    "(question TEXT, sha256 TEXT, answer TEXT, PRIMARY KEY (question, sha256))"
                )
        except (OSError, sqlite3.Error) as error:
            raise LabelError(
                f"cannot keep answers in {file} ({error}); name another file by --cache"
            ) from error

    def find(self, question: str, text: str) -> Any | None:
        """Return what was answered to this question about this text, or None."""
        row = self._table.execute(
            "SELECT answer FROM answer WHERE question = ? AND sha256 = ?", (question, _sha256(text))
        ).fetchone()
        return None if row is None else json.loads(row[0])

    def keep(self, question: str, answers: Iterable[tuple[str, Any]]) -> None:
        """Store text and answer pairs, at once and for good.

        Raises:
            LabelError: the file cannot be written.
        """
        rows = [(question, _sha256(text), json.dumps(answer)) for text, answer in answers]
        try:
            with self._table:
                self._table.executemany("INSERT OR REPLACE INTO answer VALUES (?, ?, ?)", rows)
        except sqlite3.Error as error:
            raise LabelError(
                f"cannot keep answers in {self._file} ({error}); make room, or name another file by --cache"
            ) from error

    def close(self) -> None:
        """Let go of the file."""
        self._table.close()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
