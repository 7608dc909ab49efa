"""The cluster launcher and autoscaler of Ray, called through undocumented modules; tried with Ray 2.60.

Nothing documented checks a launcher file without starting nodes. The tests of cluster.yaml fail when one of
these modules changes.
"""

from typing import Any

from ray.autoscaler._private.aws.config import _check_ami
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingReply, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil


def prepared(config: dict[str, Any]) -> dict[str, Any]:
    """Return a launcher file with Ray's defaults filled in."""
    return prepare_config(config)


def validate(config: dict[str, Any]) -> None:
    """Raise if Ray rejects a launcher file."""
    validate_config(prepare_config(config))


def resolve_images(config: dict[str, Any]) -> None:
    """Replace the images of a prepared file in place, as Ray's AWS provider does."""
    _check_ami(config)


def launcher(config: dict[str, Any]) -> AutoscalingConfig:
    """Return what the autoscaler reads from a launcher file."""
    return AutoscalingConfig(prepare_config(config), skip_content_hash=True)


def decide(config: dict[str, Any], demand: list[dict[str, float]]) -> SchedulingReply:
    """Return which nodes the autoscaler starts for a list of resource requests."""
    settings = launcher(config)
    return ResourceDemandScheduler().schedule(
        SchedulingRequest(
            disable_launch_config_check=True,
            node_type_configs=settings.get_node_type_configs(),
            max_num_nodes=settings.get_max_num_worker_nodes(),
            resource_requests=ResourceRequestUtil.group_by_count(
                [ResourceRequestUtil.make(resources) for resources in demand]
            ),
        )
    )
