from types import SimpleNamespace

import pytest
import ray

from serve.runtime.gpu_memory import limit_gpu_memory
from tests.fake_cuda import FakeCuda


@pytest.mark.parametrize(
    ("device", "assigned", "limits"),
    [
        ("cuda", {"CPU": 1.0, "GPU": 0.3}, {0: pytest.approx(0.27)}),
        ("cuda:1", {"GPU": 0.7}, {1: pytest.approx(0.63)}),
        ("cuda", {"GPU": 1.0}, {}),
        ("cuda", {"CPU": 1.0}, {}),
        ("cpu", {"GPU": 0.3}, {}),
    ],
)
def test_the_memory_limit_is_the_replicas_share_of_the_gpu(
    monkeypatch: pytest.MonkeyPatch, device: str, assigned: dict[str, float], limits: dict[int, float]
):
    context = SimpleNamespace(get_assigned_resources=lambda: assigned)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: context)

    with FakeCuda(num_devices=2) as cuda:
        limit_gpu_memory(device)

    assert cuda.memory_fractions == limits
