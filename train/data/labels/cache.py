"""Local cache of a paid service's responses, by the sha256 of the text; the text is not stored."""

import hashlib
import json
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from train.data.labels.sentiment import LabelError


class ResponseCache:
    """Store responses in SQLite; stored ones survive a crash.

    Args:
        file: created if it does not exist.

    Raises:
        LabelError: the file cannot be opened or is no such cache.
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
                f"cannot store responses in {file} ({error}); name another file by --cache"
            ) from error

    def get(self, operation: str, text: str) -> Any | None:
        """Return the stored response of this operation for this text, or None."""
        row = self._table.execute(
            "SELECT answer FROM answer WHERE question = ? AND sha256 = ?", (operation, _sha256(text))
        ).fetchone()
        return None if row is None else json.loads(row[0])

    def put(self, operation: str, responses: Iterable[tuple[str, Any]]) -> None:
        """Store pairs of text and response in one transaction.

        Raises:
            LabelError: the file cannot be written.
        """
        rows = [(operation, _sha256(text), json.dumps(response)) for text, response in responses]
        try:
            with self._table:
                self._table.executemany("INSERT OR REPLACE INTO answer VALUES (?, ?, ?)", rows)
        except sqlite3.Error as error:
            raise LabelError(
                f"cannot store responses in {self._file} ({error}); free disk space, or name another file "
                "by --cache"
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._table.close()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
