"""Composition of the API application from the networks of all tasks."""

from typing import Any

from ray.serve import Application

from serve import tasks
from serve.gateway import Gateway


def build_app(arguments: dict[str, Any]) -> Application:
    """Build the API; Serve calls this with the ``args`` of local.yaml.

    Raises:
        ValidationError: a setting is wrong.
        CheckpointError: a checkpoint is missing or invalid; nothing has been started.
    """
    config = tasks.read_config(arguments)
    apps = {task.name: task.build(getattr(config, task.name)) for task in tasks.TASKS}
    networks = {
        name: network.loader() if config.gateway.networks_in_gateway else network.bind()
        for app in apps.values()
        for name, network in app.networks.items()
    }
    services = {name: app.create_service for name, app in apps.items()}
    return Gateway.bind(config.gateway, services, networks)  # pyright: ignore[reportAttributeAccessIssue]
