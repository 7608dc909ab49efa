"""A scorer without a network: the rows have text and length of a file."""

import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from models.images import UnreadableImageError
from serve.bulk.scorer import Row


@dataclass(frozen=True, kw_only=True)
class TextScorer:
    """Return the text of each file; some contents are special.

    ``bad`` cannot be decoded, ``defect`` raises, ``final`` needs no network, ``crash`` kills the process.
    """

    batch_size: int = 2
    seconds: float = 0.0
    """Time for one file."""
    version: str = "1"

    outcome_column = "kind"
    columns: Sequence[pa.Field] = (pa.field("kind", pa.string()), pa.field("length", pa.int64()))

    @property
    def description(self) -> Mapping[str, str | int]:
        return {"task": "text", "version": self.version}

    def load(self) -> None:
        pass

    def prepare(self, data: bytes) -> str | Row:
        text = data.decode()
        if text == "bad":
            raise UnreadableImageError("the photo is bad; send another")
        if text == "defect":
            raise ValueError("a defect")
        if text == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        return {"kind": "final", "length": len(text)} if text == "final" else text

    def classify(self, prepared: Sequence[str]) -> list[Row]:
        assert 1 <= len(prepared) <= self.batch_size
        time.sleep(self.seconds * len(prepared))
        return [{"kind": text[:1], "length": len(text)} for text in prepared]
