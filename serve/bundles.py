"""Bundles: several questions in one call, when there are many.

A call from a gateway to a replica costs each of them about 2 ms of CPU, however much it carries
(docs/decisions/0011-several-photos-a-call.md). Few questions go at once, one a call. When many are under way,
a new one would wait at the replica anyway; it waits here for a moment, so that others travel with it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Any, Generic, TypeVar

BUSY = 8
"""With so many questions under way, a new one waits for others."""
LARGEST = 8
"""So many questions travel together at most; more would save little."""
WAIT_S = 0.005
"""How long a bundle is kept open."""

_Q = TypeVar("_Q")
_A = TypeVar("_A")


class Bundles(Generic[_Q, _A]):
    """Asks questions, several in one call when many are under way.

    Args:
        call: answers a list of questions by a list of as many answers; cancelled when nobody waits for any of
            them any more.
    """

    def __init__(self, call: Callable[[list[_Q]], Awaitable[Sequence[_A]]]) -> None:
        self._call = call
        self._open: list[tuple[_Q, asyncio.Future[_A]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._num_under_way = 0
        self._calls: set[asyncio.Task[None]] = set()

    async def ask(self, question: _Q) -> _A:
        """Wait for the answer to one question; an error of the call reaches all that travel in it."""
        answer: asyncio.Future[_A] = asyncio.get_running_loop().create_future()
        self._open.append((question, answer))
        if self._num_under_way < BUSY or len(self._open) == LARGEST:
            self._send()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(WAIT_S, self._send)
        return await answer

    def _send(self) -> None:
        """Send what is in the open bundle, but for those who have gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        bundle = [(question, answer) for question, answer in self._open if not answer.done()]
        self._open = []
        if not bundle:
            return
        questions, answers = [question for question, _ in bundle], [answer for _, answer in bundle]
        # In a context of its own: in that of one request, Serve would call all off when its client hangs up.
        task = asyncio.get_running_loop().create_task(self._deliver(questions, answers), context=Context())
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        self._num_under_way += len(bundle)

        def call_off(_: Any) -> None:
            if all(answer.cancelled() for answer in answers):
                task.cancel()

        for answer in answers:
            answer.add_done_callback(call_off)

    async def _deliver(self, questions: list[_Q], answers: list[asyncio.Future[_A]]) -> None:
        try:
            found = await self._call(questions)
            if len(found) != len(questions):
                raise ValueError(f"the call gave {len(found)} answers to {len(questions)} questions")
        except Exception as error:  # whatever it is, it is for those who asked
            for answer in answers:
                if not answer.done():
                    answer.set_exception(error)
        else:
            for answer, one in zip(answers, found, strict=True):
                if not answer.done():
                    answer.set_result(one)
        finally:
            self._num_under_way -= len(questions)
