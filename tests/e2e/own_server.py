"""Servers of single test modules, with no more replicas and weights than their tests need."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from models.checkpoint import save_checkpoint
from models.lesion.shapes import SMALL_NETWORK
from models.lesion.small_network import SmallLesionNet
from serve.__main__ import COMPOSED_YAML
from tests.conftest import Server, StartServer
from tests.random_checkpoints import random_meta, write_progress

Change = Callable[[dict[str, Any], dict[str, Any]], None]
"""Changes the ``args`` of the API and those of the page."""


@contextmanager
def own_server(
    start_server: StartServer,
    server_config: Path,
    folder: Path,
    change: Change = lambda api, page: None,
    *,
    replicas: Mapping[str, int] = {},
    has_page: bool = False,
    environment: Mapping[str, str] = {},
    open_files: int | None = None,
    options: Sequence[str] = (),
    in_gateway: bool = False,
) -> Iterator[Server]:
    """Run a server with small random networks, without the face descriptor.

    By default it has a deployment for each network, as on a cluster. The session's server, as ``make serve``,
    has them in its gateways.

    Args:
        start_server: fixture.
        server_config: fixture; the config to start from.
        folder: of this test module.
        change: of the settings.
        replicas: by deployment; default 1.
        has_page: deploy the page too.
        environment: variables of the server.
        open_files: hard limit of open files.
        options: of ``python -m serve``.
        in_gateway: the gateways hold the networks, without deployments of their own.
    """
    config = yaml.safe_load(server_config.read_text(encoding="utf-8"))
    api, page = config["applications"]
    if not in_gateway:
        composed = yaml.safe_load(COMPOSED_YAML.read_text(encoding="utf-8"))["applications"][0]
        api["args"]["gateway"]["networks_in_gateway"] = False
        api["deployments"] = composed["deployments"]
    api["args"]["lesion"]["checkpoints"] = [str(write_small_lesion(folder / "lesion-small", "lesion-random"))]
    api["args"]["progress"]["checkpoints"] = [str(write_progress(folder / "progress-random"))]
    api["args"]["progress"]["face_detector"]["descriptor"] = None
    change(api["args"], page["args"])
    for deployment in (*api["deployments"], *page["deployments"]):
        deployment["num_replicas"] = replicas.get(deployment["name"], 1)
    if not has_page:
        config["applications"] = [api]
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    server = start_server(path, environment, open_files=open_files, options=options)
    server.wait_for("ready: ")
    yield server
    server.stop()


def write_small_lesion(folder: Path, name: str) -> Path:
    """Write a small lesion network with two diagnoses; returns the folder."""
    architecture = {"network": SMALL_NETWORK, "num_diagnoses": 2, "input_px": 64}
    meta = random_meta("lesion", name=name, version="1", architecture=architecture)
    save_checkpoint(folder, SmallLesionNet(num_diagnoses=2, input_px=64), meta, "# Random weights\n")
    return folder
