"""The interface between bulk scoring and a task."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import pyarrow as pa

Row = dict[str, Any]
"""Values of one photo by column."""

NAME, ERROR_CODE, ERROR_MESSAGE = "name", "error_code", "error_message"
FIRST_COLUMNS = (
    pa.field(NAME, pa.string(), nullable=False),
    pa.field(ERROR_CODE, pa.string()),
    pa.field(ERROR_MESSAGE, pa.string()),
)
"""Of every task; the error columns are null in the row of an answer."""


class Scorer(Protocol):
    """Score photos by one model; picklable, so that every worker gets a copy.

    Models are loaded at the first call in a process.
    """

    @property
    def batch_size(self) -> int:
        """Return the number of photos of one call to ``classify``."""
        ...

    @property
    def columns(self) -> Sequence[pa.Field]:
        """Return the columns of an answer."""
        ...

    @property
    def outcome_column(self) -> str:
        """Return the column whose values are counted in the summary."""
        ...

    @property
    def description(self) -> Mapping[str, str | int]:
        """Return everything that decides about the rows: model, engine, options."""
        ...

    def load(self) -> None:
        """Load the model in this process, at the first call.

        Raises:
            CheckpointError: the model cannot be loaded.
        """
        ...

    def prepare(self, data: bytes) -> Any:
        """Decode one photo on a CPU, without PyTorch.

        Returns:
            The input of ``classify``, picklable; or a ``Row`` for a photo that needs no network.

        Raises:
            PhotoError: the photo cannot be decoded.
            CheckpointError: the model cannot be loaded.
        """
        ...

    def classify(self, prepared: Sequence[Any]) -> list[Row]:
        """Return the rows of prepared photos, without the columns ``FIRST_COLUMNS``.

        Raises:
            CheckpointError: the model cannot be loaded.
        """
        ...
