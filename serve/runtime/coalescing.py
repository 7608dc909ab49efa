"""Bundles: several questions in one call, when there are many.

A call from a gateway to a replica costs each of them about 2 ms of CPU, however much it carries
(docs/decisions/0011-request-coalescing.md). Few questions go at once, one a call. When many are under way,
a new one would wait at the replica anyway; it waits here for a moment, so that others travel with it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

LARGEST = 8
"""So many questions travel together at most; more would save little."""
WAIT_S = 0.005
"""How long a bundle is kept open."""

_Q = TypeVar("_Q")
_A = TypeVar("_A")


@dataclass
class _Asked(Generic[_Q, _A]):
    question: _Q
    answer: asyncio.Future[_A]
    context: Context = field(default_factory=copy_context)


class Bundles(Generic[_Q, _A]):
    """Asks questions, several in one call when many are under way.

    Args:
        call: answers a list of questions by a list of as many answers; cancelled when nobody waits for any of
            them any more.
        busy: with so many questions under way, a new one waits for others.
    """

    def __init__(self, call: Callable[[list[_Q]], Awaitable[Sequence[_A]]], *, busy: int) -> None:
        self._call = call
        self._busy = busy
        self._open: list[_Asked[_Q, _A]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._num_under_way = 0
        self._calls: set[asyncio.Task[None]] = set()

    async def ask(self, question: _Q) -> _A:
        """Wait for the answer to one question; an error of the call reaches all that travel in it."""
        loop = asyncio.get_running_loop()
        asked = _Asked[_Q, _A](question, loop.create_future())
        self._open.append(asked)
        if self._num_under_way < self._busy or len(self._open) == LARGEST:
            self._send()
        elif self._timer is None:
            self._timer = loop.call_later(WAIT_S, self._send)
        return await asked.answer

    def _send(self) -> None:
        """Send what is in the open bundle, but for those who have gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        bundle = [asked for asked in self._open if not asked.answer.done()]
        self._open = []
        if not bundle:
            return
        # In the context of one of several requests, Serve would call off all when that client hangs up.
        context = bundle[0].context if len(bundle) == 1 else Context()
        task = asyncio.get_running_loop().create_task(self._deliver(bundle), context=context)
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        self._num_under_way += len(bundle)

        def call_off(_: Any) -> None:
            if all(asked.answer.cancelled() for asked in bundle):
                task.cancel()

        for asked in bundle:
            asked.answer.add_done_callback(call_off)

    async def _deliver(self, bundle: list[_Asked[_Q, _A]]) -> None:
        error: Exception = RuntimeError("the call was called off")
        answers: Sequence[_A] = ()
        try:
            answers = await self._call([asked.question for asked in bundle])
            if len(answers) != len(bundle):
                error = ValueError(f"the call gave {len(answers)} answers to {len(bundle)} questions")
                answers = ()
        except Exception as raised:  # whatever it is, it is for those who asked
            error = raised
        finally:
            self._num_under_way -= len(bundle)
            for index, asked in enumerate(bundle):
                if asked.answer.done():
                    continue
                if answers:
                    asked.answer.set_result(answers[index])
                else:
                    asked.answer.set_exception(error)
