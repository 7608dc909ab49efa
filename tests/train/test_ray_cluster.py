import logging
from typing import Any

import pytest
import ray

from train.ray_cluster import ClusterError, ray_cluster


def test_rays_logging_configuration_does_not_change_this_process(monkeypatch: pytest.MonkeyPatch):
    root = logging.getLogger()
    before = root.level, root.handlers[:]
    given: list[Any] = []

    def init(**settings: Any) -> None:
        given.append(settings["logging_config"])
        root.setLevel(logging.ERROR)
        root.addHandler(logging.StreamHandler())

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    with ray_cluster("local"):
        assert (root.level, root.handlers) == before

    assert given[0].log_level == "ERROR"


def test_an_address_without_a_cluster_is_rejected_at_once():
    with (
        pytest.raises(ClusterError, match=r"no Ray cluster at 127\.0\.0\.1:1 .*correct or omit --address"),
        ray_cluster("127.0.0.1:1"),
    ):
        pass
