"""What Ray Serve raises when a replica is lost; tried with Ray 2.60."""

import asyncio
from typing import Any

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata
from ray.exceptions import RayActorError, RayTaskError
from ray.serve._private.replica_result import gRPCReplicaResult

from serve.runtime.lost_replica import is_lost_replica


class BrokenCall:
    """A gRPC call whose connection breaks before or while the replica accepts it."""

    def __init__(self, error: AioRpcError | None) -> None:
        self._error = error

    async def wait_for_connection(self) -> None:
        if self._error is not None:
            raise self._error

    async def initial_metadata(self) -> Metadata:
        return Metadata()

    async def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNAVAILABLE

    async def details(self) -> str:
        return "Socket closed"


async def error_of_serve(call: BrokenCall) -> Exception:
    """Return what Serve makes of a broken call."""
    result: Any = object.__new__(gRPCReplicaResult)
    result._with_rejection, result._rejection_response, result._call = True, None, call
    result._is_streaming = False
    result._actor_id = type("Id", (), {"binary": lambda self: b"0" * 16})()
    with pytest.raises(Exception) as error:
        await result.get_rejection_response()
    return error.value


async def test_serve_reports_a_connection_that_breaks_before_the_answer_as_recognised():
    error = await error_of_serve(BrokenCall(None))

    assert type(error) is RuntimeError
    assert is_lost_replica(error)


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED])
async def test_serve_reports_an_unreachable_replica_as_recognised(code: grpc.StatusCode):
    error = await error_of_serve(BrokenCall(AioRpcError(code, Metadata(), Metadata(), details="gone")))

    assert isinstance(error, RayActorError)
    assert is_lost_replica(error)


async def test_errors_raised_in_a_replica_are_not_a_loss():
    inner = RayTaskError("classify", "traceback", RayActorError()).as_instanceof_cause()

    assert isinstance(inner, RayActorError)
    assert not is_lost_replica(inner)
    assert not is_lost_replica(ValueError("a bug"))
    assert not is_lost_replica(RuntimeError("a bug"))


async def test_a_cancellation_is_a_loss_unless_the_caller_was_cancelled():
    async def wait() -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError as error:
            found.append(is_lost_replica(error))
            raise

    found = [is_lost_replica(asyncio.CancelledError())]
    caller = asyncio.create_task(wait())
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.wait([caller])

    assert found == [True, False]
