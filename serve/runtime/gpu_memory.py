"""The share of a GPU's memory that a replica may take."""

import ray

HEADROOM = 0.9
"""Of its share: the CUDA context of each process is outside PyTorch's allocator."""


def limit_gpu_memory(device: str) -> None:
    """Limit PyTorch's memory on a shared GPU to the fraction that Ray assigned to this replica.

    Without the limit one replica could take the memory that another one on the same GPU needs. Beyond it
    PyTorch raises an out-of-memory error in the replica that asked for more.
    """
    if device == "cpu":
        return
    fraction = ray.get_runtime_context().get_assigned_resources().get("GPU", 0)
    if 0 < fraction < 1:
        import torch  # not above: replicas on CPUs import it later

        # torch rejects a device without an index here; None, the index of "cuda", is the current device
        index = torch.device(device).index
        torch.cuda.set_per_process_memory_fraction(HEADROOM * fraction, index)
