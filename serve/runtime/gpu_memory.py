"""Memory limit of replicas that share a GPU."""

import ray

HEADROOM = 0.9
"""Fraction of a replica's share for PyTorch's allocator; the CUDA context is outside it."""


def limit_gpu_memory(device: str) -> None:
    """Limit PyTorch's memory on a shared GPU to the fraction that Ray assigned to this replica.

    Otherwise one replica could take the memory of another on the same GPU. Over the limit, PyTorch raises an
    out-of-memory error in the replica that allocates.
    """
    if device == "cpu":
        return
    fraction = ray.get_runtime_context().get_assigned_resources().get("GPU", 0)
    if 0 < fraction < 1:
        import torch  # here, since replicas on CPUs import it later

        # A device without an index is rejected; None, the index of "cuda", means the current device.
        index = torch.device(device).index
        torch.cuda.set_per_process_memory_fraction(HEADROOM * fraction, index)
