"""Check cluster.yaml, deploy/ and the Serve configs with the programs that read them."""

import copy
import json
import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from serve.runtime.autoscaling import TargetLoadPolicy
from serve.runtime.ray_env import CLUSTER, EVERYWHERE
from serve.runtime.server_process import grpc_options
from serve.tasks import read_config
from tests import ray_launcher
from train.placement import LOWEST_DRIVER
from ui.config import UiConfig

ROOT = Path(__file__).parents[1]
GPU_DEPLOYMENTS = {"LesionClassifier", "ProgressClassifier"}
PHOTO_DEPLOYMENTS = {"Gateway", "FaceDetector", "Page"}
UBUNTU = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
DEEP_LEARNING = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id"


def read(path: str):
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", ["serve/local.yaml", "serve/composed.yaml", "serve/gpu.yaml"])
def test_serve_accepts_the_config(path):
    schema = ServeDeploySchema.model_validate(read(path))
    api, ui = schema.applications
    read_config(api.args)
    UiConfig.model_validate(ui.args)


def deployments() -> dict[str, dict[str, Any]]:
    return {one["name"]: one for app in read("serve/gpu.yaml")["applications"] for one in app["deployments"]}


def test_both_networks_share_one_gpu_and_queue_two_batches():
    args = read("serve/gpu.yaml")["applications"][0]["args"]
    face_detector = args["progress"]["face_detector"]
    fractions = [deployments()[name]["ray_actor_options"]["num_gpus"] for name in GPU_DEPLOYMENTS]
    assert sum(fractions) == pytest.approx(1)
    for name, part, photos in (  # photos of the longest request
        ("LesionClassifier", args["lesion"], 1),
        ("FaceDetector", face_detector, 1),
        ("ProgressClassifier", args["progress"], 30),
    ):
        assert deployments()[name]["max_ongoing_requests"] * photos >= 2 * part["max_batch_size"]
        assert part.get("device", "cpu") == ("cuda" if name in GPU_DEPLOYMENTS else "cpu")
    assert face_detector["num_threads"] == deployments()["FaceDetector"]["ray_actor_options"]["num_cpus"]


def test_every_deployment_is_placed_on_one_kind_of_node():
    pinned = {
        name
        for name, one in deployments().items()
        if one["ray_actor_options"].get("resources") == {"photo_node": 0.001}
    }
    assert pinned == PHOTO_DEPLOYMENTS
    assert {name for name in deployments() if name not in pinned} == GPU_DEPLOYMENTS


def test_only_pods_with_a_gpu_declare_one_to_ray():
    service = read("deploy/rayservice.yaml")["spec"]["rayClusterConfig"]
    for group in (service["headGroupSpec"], *service["workerGroupSpecs"]):
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        assert group["rayStartParams"].get("num-gpus") == (None if "nvidia.com/gpu" in limits else "0")


def test_network_policies_select_every_pod_and_open_nothing_to_everybody():
    policies = list(yaml.safe_load_all((ROOT / "deploy/networkpolicy.yaml").read_text(encoding="utf-8")))
    cluster = read("deploy/rayservice.yaml")["spec"]["rayClusterConfig"]
    pods = [group["template"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]

    for policy in policies:
        selected = policy["spec"]["podSelector"]["matchLabels"]
        assert all(selected.items() <= pod["metadata"]["labels"].items() for pod in pods)
        assert all(rule["from"] for rule in policy["spec"]["ingress"])
        assert policy["spec"]["policyTypes"] == ["Ingress"]


def test_only_photo_nodes_offer_the_resource_photo_node():
    types = read("cluster.yaml")["available_node_types"]
    offers = {name: one["resources"].get("photo_node", 0) for name, one in types.items()}
    assert offers == {"head": 0, "photos": 1, "networks": 0}
    spec = read("deploy/rayservice.yaml")["spec"]["rayClusterConfig"]
    assert "resources" not in spec["headGroupSpec"]["rayStartParams"]
    for group in spec["workerGroupSpecs"]:
        resources = group["rayStartParams"].get("resources", '"{}"')
        # KubeRay puts the text into a shell command: one pair of quotes is the shell's
        assert json.loads(json.loads(resources)) == (
            {"photo_node": 1} if group["groupName"] == "photos" else {}
        )


def test_the_smallest_cluster_fits_the_minimum_of_replicas_on_two_nodes_each():
    minimum = {
        name: one.get("autoscaling_config", {}).get("min_replicas", one.get("num_replicas"))
        for name, one in deployments().items()
    }
    groups = read("deploy/rayservice.yaml")["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    for group in groups:
        pods = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        names = PHOTO_DEPLOYMENTS if group["groupName"] == "photos" else GPU_DEPLOYMENTS
        needed = sum(minimum[name] * deployments()[name]["ray_actor_options"]["num_cpus"] for name in names)
        assert group["minReplicas"] >= 2
        assert needed <= group["minReplicas"] * int(pods["cpu"])
    for name in {*GPU_DEPLOYMENTS, "FaceDetector"}:
        assert minimum[name] > deployments()[name]["max_replicas_per_node"]


@pytest.mark.parametrize("name", ["Gateway", "LesionClassifier"])
def test_the_autoscaling_policies_accept_their_arguments(name: str):
    policy = deployments()[name]["autoscaling_config"]["policy"]
    assert policy["policy_function"] == f"{TargetLoadPolicy.__module__}:{TargetLoadPolicy.__name__}"
    TargetLoadPolicy(**policy["policy_kwargs"])


def test_the_kubernetes_manifest_contains_the_serve_config():
    service = read("deploy/rayservice.yaml")["spec"]
    assert yaml.safe_load(service["serveConfigV2"]) == read("serve/gpu.yaml")


def test_the_cluster_launcher_accepts_its_file():
    config = read("cluster.yaml")
    ray_launcher.validate(config)
    assert config["provider"]["use_internal_ips"]
    assert config["available_node_types"]["head"]["resources"] == {"CPU": 0}


def test_every_node_type_has_a_current_machine_image_and_a_large_disk():
    for name, node_type in read("cluster.yaml")["available_node_types"].items():
        wanted = DEEP_LEARNING if name == "networks" else UBUNTU
        # EC2 resolves a parameter name to an image, and Ray passes on values that it does not know
        assert node_type["node_config"]["ImageId"] == f"resolve:ssm:{wanted}"
        [disk] = node_type["node_config"]["BlockDeviceMappings"]
        assert disk["DeviceName"] == "/dev/sda1" and disk["Ebs"]["VolumeSize"] >= 100


def test_ray_does_not_change_the_names_of_machine_images():
    config = ray_launcher.prepared(read("cluster.yaml"))
    before = copy.deepcopy(config["available_node_types"])

    ray_launcher.resolve_images(config)

    assert config["available_node_types"] == before


@pytest.mark.parametrize(
    ("demand", "photos", "networks", "infeasible"),
    [
        ([], 2, 2, 0),
        (12 * [{"CPU": 2, "photo_node": 0.001}], 3, 2, 0),  # gateways and face detectors
        (33 * [{"CPU": 2, "photo_node": 0.001}], 8, 2, 1),  # never on GPU nodes
        (3 * [{"CPU": 1, "GPU": 0.7}], 2, 3, 0),  # lesion networks, one on a GPU
        (3 * [{"CPU": 8, "GPU": 1}], 2, 3, 0),  # training workers
        ([{"CPU": 9, "GPU": 1}], 2, 2, 1),
    ],
)
def test_the_autoscaler_starts_nodes_of_the_requested_kind(
    demand: list[dict[str, float]], photos: int, networks: int, infeasible: int
):
    config = read("cluster.yaml")
    for name, detected in (("photos", {"CPU": 8}), ("networks", {"CPU": 8, "GPU": 1})):  # as AWS reports
        config["available_node_types"][name]["resources"] |= detected

    decision = ray_launcher.decide(config, demand)

    started = {one.instance_type: one.count for one in decision.to_launch}
    assert started == {"photos": photos, "networks": networks}
    assert len(decision.infeasible_resource_requests) == infeasible


def test_only_containers_of_gpu_nodes_get_the_gpu():
    config = read("cluster.yaml")
    launcher = ray_launcher.launcher(config)
    for name in config["available_node_types"]:
        docker = launcher.get_docker_config(name)
        options = docker["run_options"] + docker.get("worker_run_options", [])
        assert ("--gpus all" in options) == (name == "networks")
        assert docker["disable_automatic_runtime_detection"]  # else Ray adds the GPU a second time
        commands = launcher.get_initialization_commands(name)
        assert any("usermod -aG docker" in line for line in commands)
        assert any("apt-get install -y docker.io" in line for line in commands) == (name != "networks")


@pytest.mark.parametrize(
    ("driver", "status", "message"),
    [
        ("595.91.07", 0, ""),
        ("580.65.06", 0, ""),
        ("570.195.03", 1, "570.195.03 found, CUDA 13 needs 580"),
        ("", 1, "found no GPU"),
    ],
)
def test_a_gpu_node_with_an_old_driver_does_not_start(tmp_path: Path, driver: str, status: int, message: str):
    commands = read("cluster.yaml")["available_node_types"]["networks"]["initialization_commands"]
    [check] = [line for line in commands if "nvidia-smi" in line]
    nvidia_smi = tmp_path / "nvidia-smi"
    nvidia_smi.write_text(f"#!/bin/sh\n{f'echo {driver}' if driver else 'exit 9'}\n")
    nvidia_smi.chmod(0o755)

    done = subprocess.run(  # as Ray's launcher runs it
        ["bash", "-c", f"true && ({check})"],
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )

    assert done.returncode == status
    assert message in done.stdout


def test_the_documents_name_the_minimum_driver_for_the_cuda_of_pytorch():
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert re.search(r"^cuda-toolkit==13\.", lock, re.MULTILINE)  # of another CUDA: another driver
    for path in ("cluster.yaml", "deploy/rayservice.yaml", "docs/cluster.md"):
        assert f"driver {LOWEST_DRIVER} or newer" in (ROOT / path).read_text(encoding="utf-8")


def test_nodes_do_not_inherit_omp_num_threads_from_the_launcher():
    config = read("cluster.yaml")
    for role in ("head", "worker"):
        start = [line for line in config[f"{role}_start_ray_commands"] if "ray start" in line]
        assert start and all(line.startswith("unset OMP_NUM_THREADS;") for line in start)


def test_both_clusters_have_the_same_worker_groups_and_image():
    launcher = read("cluster.yaml")
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


def test_the_image_holds_all_packages_and_does_not_run_as_root():
    dockerfile = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for folder in (*project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"], "weights"):
        assert f"COPY {folder} {folder}\n" in dockerfile
    assert "USER skinserve" in dockerfile


def test_the_image_and_the_pods_set_the_environment_of_ray_env():
    dockerfile = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
    environment = dict(re.findall(r"^(?:ENV|   ) (\w+)=(\S*)", dockerfile, flags=re.MULTILINE))
    del environment["PATH"]
    assert environment == {variable.name: variable.value for variable in EVERYWHERE + CLUSTER}
    cluster = read("deploy/rayservice.yaml")["spec"]["rayClusterConfig"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        [container] = group["template"]["spec"]["containers"]
        assert "env" not in container, "pods take the environment of the image"


def test_the_commented_grpc_options_of_the_cluster_are_valid():
    lines = (ROOT / "serve/gpu.yaml").read_text(encoding="utf-8").splitlines()
    start = lines.index("# grpc_options:")
    commented = "\n".join(line.removeprefix("# ") for line in lines[start : start + 5])

    assert yaml.safe_load(commented)["grpc_options"] == grpc_options(9000)


def packages_of_the_image() -> set[str]:
    dockerfile = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
    [packages] = re.findall(r"apt-get install (.+?)&&", dockerfile, re.DOTALL)
    return set(packages.split())


def test_the_image_has_the_tools_of_the_cluster_launcher():
    assert {"openssh-client", "rsync", "procps", "wget"} <= packages_of_the_image()


@pytest.mark.parametrize("document", [".ci/run", "CONTRIBUTING.md", "docs/operations.md"])
def test_the_libraries_of_pdf_reports_are_those_of_the_image(document: str):
    libraries = {name for name in packages_of_the_image() if name.startswith("lib")}

    named = re.findall(r"\blib[a-z]+[\w.-]*-?\w*", (ROOT / document).read_text(encoding="utf-8"))
    assert libraries == {name for name in named if name.startswith(("libpango", "libharfbuzz"))}
