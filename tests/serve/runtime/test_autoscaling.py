import time
from types import SimpleNamespace
from typing import Any

import pytest

from serve.runtime.autoscaling import CpuMeter, TargetLoadPolicy


def context(cores: list[float], *, current: int, target: int = 1) -> Any:
    return SimpleNamespace(
        aggregated_metrics={"cores": dict(enumerate(cores)), "photos": {0: 99.0}} if cores else {},
        current_num_replicas=current,
        target_num_replicas=target,
    )


@pytest.mark.parametrize(
    ("cores", "current", "wanted"),
    [([1.4], 1, 1.0), ([2.8], 1, 2.0), ([0.7, 0.7], 2, 1.0), ([2.8, 2.8], 4, 8.0), ([0.0], 1, 0.0)],
)
def test_the_number_of_replicas_keeps_each_at_its_target(cores, current, wanted):
    found, state = TargetLoadPolicy(load="cores", target=1.4)(context(cores, current=current))
    assert found == pytest.approx(wanted)
    assert state == {}


def test_the_number_of_replicas_stays_before_the_first_report():
    assert TargetLoadPolicy(load="cores", target=1.4)(context([], current=3, target=3))[0] == 3


def test_a_target_of_zero_is_rejected():
    with pytest.raises(ValueError, match="must be positive"):
        TargetLoadPolicy(load="cores", target=0)


def test_a_busy_process_reports_one_busy_core():
    meter = CpuMeter()
    until = time.process_time() + 0.2
    while time.process_time() < until:
        pass
    busy = meter()["cores"]
    time.sleep(0.3)
    assert busy > 2 * meter()["cores"]
