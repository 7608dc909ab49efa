"""Recognise calls that failed because their replica died or was stopped.

Ray Serve documents no exception for it; tried with Ray 2.60. tests/serve/runtime/test_lost_replica.py fails
when the undocumented part changes.
"""

import asyncio

import grpc
from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import DeploymentUnavailableError


class LostReplicaError(RuntimeError):
    """A replica died or was stopped during a call."""


def is_lost_replica(error: BaseException) -> bool:
    """Return whether a call failed with its replica, not by an error raised in it.

    Call it in the task that awaited the call.
    """
    if isinstance(error, RayTaskError):
        return False
    if isinstance(error, asyncio.CancelledError):  # of a call that a stopping replica cancelled
        task = asyncio.current_task()
        return task is None or not task.cancelling()
    if isinstance(error, RayActorError | DeploymentUnavailableError | grpc.RpcError):
        return True
    # Serve raises this when the connection breaks before the replica has accepted or rejected the request.
    return isinstance(error, RuntimeError) and str(error).startswith("Unexpected error (")
