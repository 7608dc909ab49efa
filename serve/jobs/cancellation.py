"""End work in threads together with the request that started it."""

import threading

from serve.runtime.errors import ApiError


class StopEvent(threading.Event):
    """Report to a thread that its request has ended."""

    def check(self) -> None:
        """Raise ``deadline_exceeded`` if the request has ended."""
        if self.is_set():
            raise ApiError("deadline_exceeded", "the request has ended")
