"""Calls of a gateway to the networks of one deployment: repeated if lost, coalesced under load.

A gateway may hold the networks itself, without replicas of their own
(docs/decisions/0046-networks-in-the-gateway.md).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from serve.runtime.errors import QueueFullError, model_unavailable, overloaded
from serve.runtime.lost_replica import LostReplicaError, is_lost_replica
from serve.runtime.model_cache import LoadFailed

OVERLOAD_RETRY_S = 0.2
"""Pause before a call that may wait is repeated after a rejection."""
MAX_COALESCED_REQUESTS = 8
"""Requests in one call; more would save little."""
COALESCING_WAIT_S = 0.005
"""Longest wait of a request for others to share its call."""

_RequestT = TypeVar("_RequestT")
_ResultT = TypeVar("_ResultT")


@dataclass(frozen=True, kw_only=True)
class Overloaded:
    """Rejection by a replica; an exception would write a traceback into its log."""

    num_photos: int
    """Photos in progress on the replica."""


class _OverloadedReplicaError(RuntimeError):
    """One replica rejected a call; another one may accept it."""


class ModelClient(Protocol):
    """Call one deployment's class, in replicas or in this process."""

    @property
    def is_remote(self) -> bool:
        """Return whether calls go to other processes; only those are coalesced."""
        ...

    async def call(self, method: str, *arguments: object, model: str = "") -> Any:
        """Call a method.

        Args:
            model: address of the model, which the method gets as its argument ``model``; without one, it uses
                the default model of every replica.

        Raises:
            QueueFullError: the replicas accept no more work now.
            ApiError: ``overloaded``: the replicas are being restarted; ``model_unavailable``: the model
                cannot be loaded.
        """
        ...

    async def broadcast(self, method: str, *arguments: object, timeout_s: float) -> list[Any]:
        """Call a method of every running replica and return all results; none while no replica runs.

        Raises:
            TimeoutError: a replica has not answered in time.
        """
        ...


class LocalModelClient:
    """Call an instance of a deployment's class in this process.

    Args:
        instance: of the deployment's class.
    """

    is_remote = False

    def __init__(self, instance: Any, *, retry_after_s: int) -> None:
        self._instance = instance
        self._retry_after_s = retry_after_s

    async def call(self, method: str, *arguments: object, model: str = "") -> Any:
        """Call the instance; raise QueueFullError or ``model_unavailable``."""
        result = await getattr(self._instance, method)(*arguments, **_model(model))
        if isinstance(result, Overloaded):
            raise QueueFullError(self._retry_after_s)
        if isinstance(result, LoadFailed):
            raise model_unavailable(model, result.reason)
        return result

    async def broadcast(self, method: str, *arguments: object, timeout_s: float) -> list[Any]:
        """Call the instance; raise TimeoutError."""
        async with asyncio.timeout(timeout_s):
            return [await getattr(self._instance, method)(*arguments)]

    async def check_health(self) -> None:
        """Raise if the instance cannot answer."""
        await self._instance.check_health()


class ReplicaClient:
    """Call the replicas of one deployment of Serve.

    Args:
        name: the model in messages and in ``/readyz``.
    """

    is_remote = True

    def __init__(self, name: str, handle: DeploymentHandle, *, retry_after_s: int) -> None:
        self.name = name
        self._handle = handle
        self._retry_after_s = retry_after_s

    async def call(self, method: str, *arguments: object, model: str = "") -> Any:
        """Call a method of any replica, or of one that has loaded the model.

        A call whose replica is lost is repeated once; inference has no side effects. The repeated call waits
        for a replica with room until the deadline of its request.

        Raises:
            QueueFullError: the queue of the deployment is full, or two replicas rejected the call.
            ApiError: ``overloaded``: the repeated call was lost too; ``model_unavailable``: the model cannot
                be loaded.
        """
        lost = rejected = False
        while True:
            try:
                return await self._call_once(method, *arguments, model=model)
            except (BackPressureError, _OverloadedReplicaError) as error:
                if isinstance(error, _OverloadedReplicaError) and not rejected:
                    rejected = True  # Serve counts calls, not photos, and may choose another replica now
                    continue
                if not lost:
                    raise QueueFullError(self._retry_after_s) from error
                await asyncio.sleep(OVERLOAD_RETRY_S)
            except LostReplicaError as error:
                if lost:
                    message = f"the {self.name} model is being restarted"
                    raise overloaded(message, self._retry_after_s) from error
                lost = True

    async def broadcast(self, method: str, *arguments: object, timeout_s: float) -> list[Any]:
        """Call a method of every replica, without back pressure: for rare calls only."""
        try:
            return await self._handle.broadcast(method, *arguments).results_async(timeout_s=timeout_s)
        except DeploymentUnavailableError:  # Ray raises it also before the first replica runs
            return []

    async def _call_once(self, method: str, *arguments: object, model: str) -> Any:
        """Call a replica; cancel the call when its caller is cancelled."""
        handle = self._handle
        if model:  # without an id Serve chooses among all replicas, which all have the default model
            handle = handle.options(multiplexed_model_id=model)
        response = getattr(handle, method).remote(*arguments, **_model(model))
        try:
            result = await response
        except (Exception, asyncio.CancelledError) as error:
            if is_lost_replica(error):
                raise LostReplicaError(f"a replica of the {self.name} model ended during {method}") from error
            if isinstance(error, asyncio.CancelledError):
                response.cancel()
            raise
        if isinstance(result, Overloaded):
            raise _OverloadedReplicaError(f"{result.num_photos} photos are in progress")
        if isinstance(result, LoadFailed):
            raise model_unavailable(model, result.reason)
        return result


def _model(address: str) -> dict[str, str]:
    return {"model": address} if address else {}


@dataclass
class _Pending(Generic[_RequestT, _ResultT]):
    request: _RequestT
    result: asyncio.Future[_ResultT]
    context: Context = field(default_factory=copy_context)


class RequestCoalescer(Generic[_RequestT, _ResultT]):
    """Send several requests in one call while many are in flight.

    A call costs gateway and replica about 2 ms of CPU each, whatever it carries
    (docs/decisions/0011-request-coalescing.md). Few requests are sent at once, one per call. With many in
    flight a new one would wait at the replica anyway; it waits here instead, for others to share its call.

    Args:
        call: returns one result per request, in order; cancelled when all its requests are cancelled.
        threshold: requests in flight from which new ones wait for others.
    """

    def __init__(
        self, call: Callable[[list[_RequestT]], Awaitable[Sequence[_ResultT]]], *, threshold: int
    ) -> None:
        self._call = call
        self._threshold = threshold
        self._waiting: list[_Pending[_RequestT, _ResultT]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._num_in_flight = 0
        self._calls: set[asyncio.Task[None]] = set()

    async def submit(self, request: _RequestT) -> _ResultT:
        """Return the result of one request; an error of the call is raised for all its requests."""
        loop = asyncio.get_running_loop()
        pending = _Pending[_RequestT, _ResultT](request, loop.create_future())
        self._waiting.append(pending)
        if self._num_in_flight < self._threshold or len(self._waiting) == MAX_COALESCED_REQUESTS:
            self._send()
        elif self._timer is None:
            self._timer = loop.call_later(COALESCING_WAIT_S, self._send)
        return await pending.result

    def _send(self) -> None:
        """Send the waiting requests that were not cancelled."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        group = [pending for pending in self._waiting if not pending.result.done()]
        self._waiting = []
        if not group:
            return
        # In the context of one of several requests, Serve would cancel all when that client disconnects.
        context = group[0].context if len(group) == 1 else Context()
        task = asyncio.get_running_loop().create_task(self._run(group), context=context)
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        self._num_in_flight += len(group)

        def cancel_if_unused(_: Any) -> None:
            if all(pending.result.cancelled() for pending in group):
                task.cancel()

        for pending in group:
            pending.result.add_done_callback(cancel_if_unused)

    async def _run(self, group: list[_Pending[_RequestT, _ResultT]]) -> None:
        error: Exception = RuntimeError("the call was cancelled")
        results: Sequence[_ResultT] = ()
        try:
            results = await self._call([pending.request for pending in group])
            if len(results) != len(group):
                error = ValueError(f"the call returned {len(results)} results for {len(group)} requests")
                results = ()
        except Exception as raised:  # of any kind: the callers raise it
            error = raised
        finally:
            self._num_in_flight -= len(group)
            for index, pending in enumerate(group):
                if pending.result.done():
                    continue
                if results:
                    pending.result.set_result(results[index])
                else:
                    pending.result.set_exception(error)
