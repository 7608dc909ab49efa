"""Named Ray actors that outlive the gateway that created them."""

from typing import Any

import ray

NAMESPACE = "skinserve"


def detached_actor(actor_class: type, name: str) -> Any:
    """Return the class with options: its ``remote`` finds the actor of that name, or creates it.

    Ray restarts the actor after a crash; a call that was in progress fails.
    """
    return ray.remote(actor_class).options(
        name=name,
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        num_cpus=0,
        max_restarts=-1,
        max_task_retries=0,
    )
