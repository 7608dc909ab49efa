"""Composition of the API application from the networks of all tasks."""

from collections.abc import Mapping
from typing import Any

from ray.serve import Application

from serve import tasks
from serve.gateway import Gateway
from serve.runtime.applications import DeploymentOptions, check_names


def build_app(arguments: dict[str, Any]) -> Application:
    """Build the API; ``serve deploy`` calls this with the ``args`` of its config.

    Raises:
        ValidationError: a setting is wrong.
        CheckpointError: a checkpoint is missing or invalid; nothing has been started.
    """
    return build_app_with_options(arguments, {})


def build_app_with_options(arguments: Mapping[str, Any], options: DeploymentOptions) -> Application:
    """Build the API with options of its deployments.

    Raises:
        ValidationError, CheckpointError: as ``build_app``.
        ValueError: an unknown deployment, or a network in the gateway on another device than the CPU.
    """
    config = tasks.read_config(arguments)
    apps = {task.name: task.build(getattr(config, task.name)) for task in tasks.TASKS}
    networks = {name: network for app in apps.values() for name, network in app.networks.items()}
    services = {name: app.create_service for name, app in apps.items()}
    in_gateway = config.gateway.networks_in_gateway
    if in_gateway and any(getattr(one.config, "device", "cpu") != "cpu" for one in networks.values()):
        raise ValueError(
            "gateway.networks_in_gateway is for networks on the CPU; to compute on a GPU, start from "
            "serve/composed.yaml"
        )
    gateway: Any = Gateway
    check_names(options, [gateway, *(() if in_gateway else (one.deployment for one in networks.values()))])
    loaded = {
        name: network.loader() if in_gateway else network.bind(options.get(network.deployment.name, {}))
        for name, network in networks.items()
    }
    return gateway.options(**options.get(gateway.name, {})).bind(config.gateway, services, loaded)
