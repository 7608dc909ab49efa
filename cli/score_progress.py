"""Progress of ``skinserve score``: a bar with rate and remaining time, or a line a minute in a log."""

import sys
import time
from types import TracebackType
from typing import Self

from tqdm import tqdm

LOG_INTERVAL_S = 60.0


class TerminalProgress:
    """Write the progress of a run to stderr."""

    def __init__(self) -> None:
        self._bar = tqdm(desc="listed", unit=" photos", disable=None)
        self._num_photos = self._num_done = self._num_first = 0
        self._first_at = self._logged_at = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def listed(self, num_photos: int) -> None:
        """Show the number of photos listed so far."""
        self._bar.update(num_photos - self._bar.n)
        self._log(f"{num_photos:,} photos listed")

    def began(self, num_photos: int, num_done: int) -> None:
        """Show that scoring begins."""
        self._bar.close()
        self._bar = tqdm(desc="scored", unit=" photos", total=num_photos, initial=num_done, disable=None)
        self._num_photos, self._num_done, self._num_first = num_photos, num_done, 0

    def scored(self, num_photos: int) -> None:
        """Show that more photos have their rows."""
        self._bar.update(num_photos)
        self._num_done += num_photos
        line = f"{self._num_done:,} of {self._num_photos:,} photos scored"
        if not self._num_first:  # the rate begins here: before, Ray started and the models were loaded
            self._num_first, self._first_at = self._num_done, time.monotonic()
        else:
            per_s = (self._num_done - self._num_first) / max(time.monotonic() - self._first_at, 1e-9)
            left_s = (self._num_photos - self._num_done) / per_s
            line += f", {per_s:.1f} photos/s, {left_s:,.0f} s left"
        self._log(line)

    def _log(self, line: str) -> None:
        """Write a line, at most once in ``LOG_INTERVAL_S``; nothing on a terminal, which has the bar."""
        now = time.monotonic()
        if self._bar.disable and now - self._logged_at >= LOG_INTERVAL_S:
            self._logged_at = now
            print(f"skinserve score: {line}", file=sys.stderr, flush=True)
