import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from ray.serve.config import gRPCOptions
from ray.serve.schema import ServeDeploySchema

from models.checkpoint import CheckpointError
from serve.__main__ import Options, preflight_error
from serve.open_inference.grpc_api.open_inference_pb2_grpc import add_GRPCInferenceServiceServicer_to_server
from serve.runtime import server_process
from serve.runtime.server_process import local_address, num_cpus, read_config
from tests.random_checkpoints import write_lesion, write_progress

PORT = 8765


def test_help_lists_the_options():
    output = subprocess.run(
        [sys.executable, "-m", "serve", "--help"], capture_output=True, text=True, check=True, timeout=60
    ).stdout

    for word in ("--host", "--port", "--config", "not a medical device"):
        assert word in output


@pytest.mark.parametrize("port", [-1, 0, 65536])
def test_an_invalid_port_is_rejected_in_one_line(port: int):
    assert f"{port} is not a port" in (preflight_error(Options(port=port)) or "")


def test_a_taken_port_is_rejected_in_one_line():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        found = preflight_error(Options(port=port))

    assert found is not None and "\n" not in found
    assert f"port {port} on 127.0.0.1 is taken" in found and f"PORT={port + 1} make serve" in found


def test_too_little_memory_is_rejected_in_one_line(monkeypatch: pytest.MonkeyPatch):
    memory: Any = psutil.virtual_memory()._replace(available=1_000_000_000)
    monkeypatch.setattr("psutil.virtual_memory", lambda: memory)

    found = preflight_error(Options(port=PORT))

    assert found is not None and found.startswith("1.0 GB of memory are free, ")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (Options(port=PORT, host="192.0.2.77"), "192.0.2.77 is not an address of this machine"),
        (Options(port=70_000), "70000 is not a port"),
        (Options(port=PORT, config=Path("nowhere.yaml")), "no config file nowhere.yaml"),
        (Options(port=PORT, grpc_port=PORT), f"--port and --grpc-port are both {PORT}"),
        (Options(port=PORT, grpc_port=0), "0 is not a port"),
        (
            Options(port=PORT, grpc_port=PORT + 1, host="127.0.0.2"),
            "--grpc-port needs HAProxy",
        ),
    ],
)
def test_other_preflight_errors_are_one_line(options: Options, match: str):
    found = preflight_error(options)

    assert found is not None and "\n" not in found
    assert match in found


def test_grpc_is_off_unless_it_has_a_port(tmp_path: Path):
    file = tmp_path / "config.yaml"
    checkpoints = {
        "lesion": write_lesion(tmp_path / "lesion"),
        "progress": write_progress(tmp_path / "progress"),
    }
    arguments = {name: {"checkpoints": [str(folder)]} for name, folder in checkpoints.items()}
    application = {"name": "api", "import_path": "serve.app:build_app", "args": arguments}
    file.write_text(yaml.safe_dump({"applications": [application]}), encoding="utf-8")

    off = ServeDeploySchema.model_validate(read_config(file, host="127.0.0.1", port=PORT))
    on = ServeDeploySchema.model_validate(read_config(file, host="127.0.0.1", port=PORT, grpc_port=PORT + 1))

    assert off.grpc_options.grpc_servicer_functions == []
    assert on.grpc_options.port == PORT + 1 and not on.grpc_options.enable_reflection
    [add_servicer] = gRPCOptions(**on.grpc_options.model_dump()).grpc_servicer_func_callable
    assert add_servicer is add_GRPCInferenceServiceServicer_to_server
    assert [one.applications[0].args.get("gateway") for one in (off, on)] == [None, {"grpc_local_only": True}]


def test_a_free_port_passes_the_preflight_check():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    assert preflight_error(Options(port=port)) is None
    assert preflight_error(replace(Options(port=port), host="0.0.0.0")) is None


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("10.1.2.3", "10.1.2.3")],
)
def test_local_address_reaches_a_server_on_any_host(host: str, expected: str):
    assert local_address(host) == expected


def config_of(tmp_path: Path, **lesion: object) -> Path:
    file = tmp_path / "config.yaml"
    write_lesion(tmp_path / "lesion")
    write_progress(tmp_path / "progress")
    api = {"lesion": {"checkpoints": [str(tmp_path / "lesion")]} | lesion}
    api["progress"] = {"checkpoints": [str(tmp_path / "progress")]}
    applications = [
        {"name": "api", "import_path": "serve.app:build_app", "args": api},
        {"name": "ui", "import_path": "ui.app:build_app"},
    ]
    file.write_text(yaml.safe_dump({"applications": applications}))
    return file


def test_a_config_gets_host_and_port(tmp_path: Path):
    config = read_config(config_of(tmp_path), host="0.0.0.0", port=9000)

    assert config["http_options"] == {"host": "0.0.0.0", "port": 9000}
    assert config["applications"][1]["args"] == {"api_url": "http://127.0.0.1:9000"}


def test_the_path_of_a_registry_becomes_absolute(tmp_path: Path):
    file = config_of(tmp_path)
    for address, expected in (("registry", str(Path.cwd() / "registry")), ("s3://clinic/m", "s3://clinic/m")):
        content = yaml.safe_load(file.read_text())
        content["applications"][0]["args"]["gateway"] = {"registry": address}
        file.write_text(yaml.safe_dump(content))

        config = read_config(file, host="127.0.0.1", port=9000)

        assert config["applications"][0]["args"]["gateway"]["registry"] == expected


def test_a_missing_checkpoint_or_an_unknown_setting_is_rejected_before_ray_starts(tmp_path: Path):
    for wrong, match in (({"checkpoints": ["nowhere"]}, "is no checkpoint"), ({"colour": 1}, "colour")):
        with pytest.raises((CheckpointError, ValueError), match=match):
            read_config(config_of(tmp_path, **wrong), host="127.0.0.1", port=9000)


def test_a_folder_of_jobs_that_cannot_be_written_is_rejected_before_ray_starts(tmp_path: Path):
    file = config_of(tmp_path)
    content = yaml.safe_load(file.read_text())
    content["applications"][0]["args"]["gateway"] = {"jobs": {"folder": f"{file}/jobs"}}
    file.write_text(yaml.safe_dump(content))

    with pytest.raises(
        ValueError, match=r"gateway.jobs.folder .*/jobs cannot be written \(Not a directory\)"
    ):
        read_config(file, host="127.0.0.1", port=9000)


def test_wrong_settings_are_named_in_one_line_with_their_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("signal.signal", lambda *_: None)
    file = config_of(tmp_path, colour=1)

    with pytest.raises(SystemExit) as caught:
        server_process.main(file, "127.0.0.1", 9000, 0, tmp_path)

    assert caught.value.code == server_process.EXIT_BAD_CONFIG
    assert capsys.readouterr().out == (
        f"failure: {file} has wrong settings: lesion.colour: is unknown; correct the name or leave it out\n"
    )


def test_num_cpus_is_the_sum_over_all_replicas():
    deployments = [
        {"name": "one", "num_replicas": 3, "ray_actor_options": {"num_cpus": 0.5}},
        {"name": "two", "autoscaling_config": {"max_replicas": 4}},
    ]

    assert num_cpus({"applications": [{"deployments": deployments}, {}]}) == 6
