"""Report the kept, changed and dropped rows of a source, with reasons."""

import csv
import io
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

NUM_SHOWN = 20
"""Row numbers printed for each reason."""


@dataclass(kw_only=True)
class RowReport:
    """Collect changed and dropped rows by reason; row 1 is the header."""

    num_read: int = 0
    num_kept: int = 0
    _dropped: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    _changed: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    remarks: list[str] = field(default_factory=list)
    """Sentences about the source as a whole."""

    @property
    def num_dropped(self) -> int:
        """Number of dropped rows."""
        return sum(map(len, self._dropped.values()))

    def drop(self, number: int, reason: str) -> None:
        """Record a dropped row."""
        self._dropped[reason].append(number)

    def change(self, number: int, what: str) -> None:
        """Record a changed row."""
        self._changed[what].append(number)

    def text(self) -> str:
        """Return the report as text, most frequent reason first."""
        lines = [f"{self.num_read:,} rows read, {self.num_kept:,} kept, {self.num_dropped:,} dropped"]
        for title, reasons in (("dropped", self._dropped), ("kept, but", self._changed)):
            if reasons:
                lines.append(f"{title}:")
            for reason, numbers in sorted(reasons.items(), key=lambda item: -len(item[1])):
                lines.append(f"  {len(numbers):>6,}  {reason}: {_rows(numbers)}")
        return "\n".join(lines + self.remarks)

    def csv_bytes(self) -> bytes:
        """Return all dropped and changed rows as CSV: row, outcome, reason."""
        file = io.StringIO(newline="")
        writer = csv.writer(file)
        writer.writerow(("row", "outcome", "reason"))
        outcomes = (("dropped", self._dropped), ("changed", self._changed))
        writer.writerows(
            sorted(
                (number, outcome, reason)
                for outcome, reasons in outcomes
                for reason, numbers in reasons.items()
                for number in numbers
            )
        )
        return file.getvalue().encode()


def _rows(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, sorted(numbers)[:NUM_SHOWN]))
    more = len(numbers) - NUM_SHOWN
    return f"row{'s' if len(numbers) > 1 else ''} {shown}" + (f" and {more:,} more" if more > 0 else "")
