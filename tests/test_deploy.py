"""The files under deploy/ and the Serve configs: understood by the tools that read them, and in agreement."""

import re
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.serve.schema import ServeDeploySchema

from serve.__main__ import EVERYWHERE, HAPROXY
from serve.config import ApiConfig
from serve.scaling import ByLoad
from ui.config import UiConfig

ROOT = Path(__file__).parents[1]


def read(path: str):
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", ["serve/local.yaml", "serve/gpu.yaml"])
def test_serve_understands_the_config(path):
    schema = ServeDeploySchema.model_validate(read(path))
    api, ui = schema.applications
    ApiConfig.model_validate(api.args)
    UiConfig.model_validate(ui.args)


def test_a_replica_of_each_network_finds_room_on_one_gpu_and_beside_the_gateways():
    deployments = {one["name"]: one for one in read("serve/gpu.yaml")["applications"][0]["deployments"]}
    networks = ["LesionClassifier", "FaceDetector", "ProgressClassifier"]
    assert sum(deployments[name]["ray_actor_options"]["num_gpus"] for name in networks) == pytest.approx(1)
    args = read("serve/gpu.yaml")["applications"][0]["args"]
    for name, part in zip(networks, ("lesion", "face", "progress"), strict=True):
        photos = 30 if part == "progress" else 1  # of the longest request
        assert deployments[name]["max_ongoing_requests"] * photos >= 2 * args[part]["max_batch_size"]
        assert args[part]["device"] == "cuda"


@pytest.mark.parametrize("name", ["Gateway", "LesionClassifier"])
def test_the_policies_take_what_the_config_gives_them(name: str):
    deployments = {one["name"]: one for one in read("serve/gpu.yaml")["applications"][0]["deployments"]}
    policy = deployments[name]["autoscaling_config"]["policy"]
    assert policy["policy_function"] == f"{ByLoad.__module__}:{ByLoad.__name__}"
    ByLoad(**policy["policy_kwargs"])


def test_kubernetes_serves_by_the_same_numbers():
    service = read("deploy/rayservice.yaml")["spec"]
    assert yaml.safe_load(service["serveConfigV2"]) == read("serve/gpu.yaml")


def test_the_cluster_launcher_understands_its_file():
    config = read("deploy/cluster.yaml")
    validate_config(prepare_config(config))
    assert config["provider"]["use_internal_ips"]
    assert config["available_node_types"]["head"]["resources"] == {"CPU": 0}


def test_both_clusters_have_the_same_groups_of_workers_and_the_same_image():
    launcher = read("deploy/cluster.yaml")
    service = read("deploy/rayservice.yaml")["spec"]["rayClusterConfig"]
    groups = {one["groupName"]: one for one in service["workerGroupSpecs"]}
    types = launcher["available_node_types"]
    assert set(groups) == set(types) - {launcher["head_node_type"]}
    for name, group in groups.items():
        assert (group["minReplicas"], group["maxReplicas"]) == (
            types[name]["min_workers"],
            types[name]["max_workers"],
        )
        assert group["template"]["spec"]["containers"][0]["image"] == launcher["docker"]["image"]


def test_the_image_holds_every_package_of_ours_and_runs_as_nobody_special():
    dockerfile = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
    for package in ("models", "serve", "train", "ui", "weights"):
        assert f"COPY {package} {package}\n" in dockerfile
    assert "USER skinserve" in dockerfile
    environment = dict(re.findall(r"^(?:ENV|   ) (\w+)=(\S+)", dockerfile, flags=re.MULTILINE))
    assert environment.items() >= (HAPROXY | EVERYWHERE).items()
