"""Run the commands of docs/training.md, with smaller sizes and on one machine.

Fast: lesions and follow-up photos, in processes without Ray. Slow: the rest.
"""

import contextlib
import json
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
import torch
import yaml
from torchvision.models import resnet50

from models import storage
from models.checkpoint import read_meta
from models.lesion.engine_loader import load_lesion_engine
from models.progress.engine import load_progress_engine
from tests.local_bucket import new_bucket, s3_server
from tests.random_checkpoints import write_progress
from tests.scripts.keras_files import draw_keras_arrays, write_keras_model
from tests.train.fake_comprehend import FakeComprehend
from tests.training_guide import (
    PEOPLE,
    ROOT,
    VERDICTS,
    Guide,
    draw_ham10000,
    printed,
    printed_commands,
    put_followup,
    put_isic,
)

TINY = (
    "--input-px",
    "32",
    "--start-px",
    "32",
    "--num-epochs",
    "1",
    "--batch-size",
    "16",
    "--keep-checkpoints",
    "0",
)
TINY += ("--val-fraction", "0.25")
TINY_SERIES = ("--num-epochs", "1", "--batch-size", "4", "--val-fraction", "0.34", "--keep-checkpoints", "0")
NOISE = ("Reporting training result", "Found credentials", "Traceback")


def noise_in(*texts: str) -> list[str]:
    """Return the lines of library noise in the output."""
    lines = [line for text in texts for line in text.splitlines()]
    return [line for line in lines if any(noise in line for noise in NOISE)]


def runs(*starts: str) -> pytest.MarkDecorator:
    """Mark a test with the commands that it must run; it fails if it leaves one out."""
    return pytest.mark.guide(*(printed(start) for start in starts))


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Fill the bucket that the commands read."""
    with s3_server(), new_bucket("clinic") as address:
        put_isic(tmp_path_factory.mktemp("isic"), f"{address}/isic", num_photos=48)
        put_followup(tmp_path_factory.mktemp("followup"), f"{address}/followup")
        yield address


@pytest.fixture
def guide(request: pytest.FixtureRequest, clinic: str, tmp_path: Path) -> Iterator[Guide]:
    """Return a folder with a drawn HAM10000."""
    draw_ham10000(tmp_path, num_photos=48)
    due = [command for mark in request.node.iter_markers("guide") for command in mark.args]
    guide = Guide(folder=tmp_path, due=due)
    yield guide
    assert not guide.due, f"not run: {guide.due}"


def test_every_command_of_the_guide_is_run_by_a_test_here():
    marks = [mark for test in globals().values() for mark in getattr(test, "pytestmark", ())]

    assert {command for mark in marks if mark.name == "guide" for command in mark.args} == printed_commands()


@runs(
    "skinserve ingest HAM10000",
    "skinserve ingest s3://",
    "skinserve check-leakage",
    "skinserve train lesion --workers 0",
    "skinserve release",
    "skinserve evaluate",
)
@pytest.mark.slow
def test_from_photos_to_a_checkpoint_that_is_served_and_evaluated(guide: Guide, clinic: str):
    run = f"{clinic}/runs/lesion"
    split = ("--split", f"{run}/split.parquet")

    ingested = guide.run_printed("skinserve ingest HAM10000")
    exported = guide.run_printed("skinserve ingest s3://")
    checked = guide.run_printed("skinserve check-leakage", "--val-fraction", "0.25")
    trained = guide.run_printed("skinserve train lesion --workers 0", *TINY, "--run", run)
    checked_split = guide.run("skinserve", "check-leakage", "data/ham10000/manifest.parquet", *split)
    released = guide.run_printed("skinserve release", "--out", "weights/lesion", run=run)
    evaluated = guide.run_printed("skinserve evaluate", *split, "--out", f"{clinic}/report")

    assert "48" in ingested and "48" in exported and "no leak" in checked and "no leak" in checked_split
    assert f"checkpoint in {run}/checkpoint" in trained and "checkpoint in weights/lesion" in released
    assert not noise_in(trained, released, evaluated)
    assert "was not trained on these photos" in evaluated
    assert b"lesion-reference" in storage.read_bytes(f"{clinic}/report/report.html")
    folder = storage.fetch_folder(f"{run}/checkpoint", guide.folder)
    load_lesion_engine(folder).ping()
    assert read_meta(folder).weights_sha256 == read_meta(guide.folder / "weights/lesion").weights_sha256


@pytest.fixture
def labelled(guide: Guide, clinic: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the output of ``followup`` with a fake Comprehend."""
    comprehend = FakeComprehend()
    monkeypatch.setenv("AWS_ENDPOINT_URL_COMPREHEND", comprehend.url)
    try:
        yield guide.run_printed("skinserve followup")
    finally:
        comprehend.stop()


@pytest.mark.slow
@pytest.mark.cluster
@runs("skinserve followup", "skinserve labels", "skinserve extract-faces")
def test_from_notes_and_photos_in_a_bucket_to_a_progress_checkpoint(guide: Guide, clinic: str, labelled: str):
    hand = [f"{person},{VERDICTS[person % 2]}\n" for person in PEOPLE]
    (guide.folder / "hand.csv").write_text("person,label\n" + "".join(hand))
    run = f"{clinic}/runs/followup"

    agreed = guide.run_printed("skinserve labels")
    cut = guide.run_printed("skinserve extract-faces")
    trained = guide.run("skinserve", "train", "followup", "--workers", "0", *TINY_SERIES, "--run", run)

    assert f"of {len(PEOPLE)} people" in labelled
    assert "kappa" in agreed
    assert f"{2 * len(PEOPLE)} photos done now" in cut
    assert f"checkpoint in {run}/checkpoint" in trained
    load_progress_engine(storage.fetch_folder(f"{run}/checkpoint", guide.folder)).ping()


@pytest.mark.slow
@pytest.mark.cluster
@runs("skinserve followup", "skinserve extract-faces", "skinserve train followup", "skinserve train progress")
def test_progress_networks_are_trained_by_ray_and_evaluated(guide: Guide, clinic: str, labelled: str):
    manifest = "data/followup/manifest.parquet"
    real = ("--split", "runs/followup/split.parquet", "--faces", "data/followup/faces")
    drawn = ("--batches-per-epoch", "2", "--num-val-series", "8")

    guide.run_printed("skinserve extract-faces", "--num-actors", "1")
    trained = guide.run_printed("skinserve train followup", *TINY_SERIES)
    evaluated = guide.run("skinserve", "evaluate", "runs/followup/checkpoint", manifest, *real)
    also = guide.run_printed("skinserve train progress", *TINY_SERIES, *drawn, "--manifest", manifest)

    assert "epoch 1 of 1" in trained and not noise_in(trained)
    assert "was not trained on these photos" in evaluated
    report = json.loads((guide.folder / "runs/evaluation/report.json").read_text())
    assert report["model"]["name"] == "progress-followup"
    assert "runs/progress/checkpoint" in also


@pytest.mark.slow
@pytest.mark.cluster
@runs("skinserve train lesion", "skinserve train lesion --workers 4 --gpu", "skinserve train smoke")
def test_ray_trains_on_this_machine_and_says_when_it_has_no_gpu(guide: Guide, clinic: str):
    trained = guide.run_printed("skinserve train lesion", *TINY, "--run", f"{clinic}/runs/alone")
    smoke = guide.run_printed("skinserve train smoke")
    num_gpus = torch.cuda.device_count()
    if num_gpus:
        gpu = guide.run_printed("skinserve train lesion --workers 4 --gpu", *TINY, "--workers", str(num_gpus))
    else:  # without a GPU only the rejection can be tested
        gpu = guide.run_printed("skinserve train lesion --workers 4 --gpu", status=1)

    assert f"checkpoint in {clinic}/runs/alone/checkpoint" in trained
    assert "epoch 1 of 1" in trained and not noise_in(trained)
    assert "runs/smoke/checkpoint" in smoke
    if not num_gpus:
        lines = [line for line in gpu.splitlines() if line.startswith("skinserve train: ")]
        assert len(lines) == 1 and "4 workers need" in lines[0] and "0 GPUs" in lines[0]


@pytest.mark.slow
@pytest.mark.cluster
@runs("skinserve train lesion --folds 5")
def test_folds_under_ray_are_released_as_one_ensemble(guide: Guide, clinic: str):
    run, manifest = f"{clinic}/runs/folds", "data/ham10000/manifest.parquet"

    trained = guide.run_printed("skinserve train lesion --folds 5", *TINY, "--folds", "2", "--run", run)
    evaluated = guide.run("skinserve", "evaluate", f"{run}/checkpoint", manifest)

    first_words = [line.split()[0] for line in trained.splitlines() if line.strip()]
    table = first_words[first_words.index("fold") :]
    assert table[:5] == ["fold", "1", "2", "mean", "sd"]
    assert "48 photos" in evaluated
    folder = storage.fetch_folder(f"{run}/checkpoint", guide.folder)
    assert read_meta(folder).architecture["num_members"] == 2


@pytest.mark.slow
@runs("skinserve train lesion --init imagenet")
def test_imagenet_weights_are_taken_from_the_cache_or_rejected_at_once(guide: Guide):
    cache = guide.folder / "torch/hub/checkpoints"
    home = {"TORCH_HOME": str(guide.folder / "torch"), "https_proxy": "http://127.0.0.1:9"}

    alone = ("--workers", "0", *TINY, "--run", "runs/pretrained")

    started = time.monotonic()
    rejected = guide.run(
        "skinserve", "train", "lesion", "--init", "imagenet", *alone, status=1, environment=home
    )
    rejected_s = time.monotonic() - started
    torch.save(resnet50().state_dict(), cache / "resnet50-11ad3fa6.pth")
    trained = guide.run_printed("skinserve train lesion --init imagenet", *alone, environment=home)

    lines = [line for line in rejected.splitlines() if line.startswith("skinserve train: ")]
    assert len(lines) == 1 and str(cache) in lines[0]
    assert rejected_s < 60
    assert "runs/pretrained/checkpoint" in trained


@pytest.mark.slow
@runs("python -m scripts.convert_keras_resnet50", "skinserve train lesion --init keras-resnet50")
def test_the_reference_weights_start_from_an_npm_package(guide: Guide):
    write_keras_model(draw_keras_arrays(), guide.folder / "package/ResNet50")

    clone = {"PYTHONPATH": str(ROOT)}
    guide.run_printed("python -m scripts.convert_keras_resnet50", environment=clone)
    trained = guide.run_printed("skinserve train lesion --init keras-resnet50", *TINY, "--workers", "0")

    assert "runs/lesion/checkpoint" in trained
    meta = read_meta(guide.folder / "runs/lesion/checkpoint")
    assert meta.training["start"] == "Keras's ImageNet weights"


@pytest.mark.slow
@runs("python -m bench.scenarios.training ray", "python -m bench.scenarios.training pipeline")
def test_what_measures_speed_runs(guide: Guide):
    few = ("--rounds", "1", "--batch-size", "8", "--side-px", "32")
    few += ("--manifest", "data/ham10000/manifest.parquet")
    clone = {"PYTHONPATH": str(ROOT)}

    on_ray = guide.run_printed("python -m bench.scenarios.training ray", *few, environment=clone)
    pipeline = guide.run_printed(
        "python -m bench.scenarios.training pipeline", *few, "--steps", "2", environment=clone
    )

    assert '"what": "ray"' in on_ray
    assert '"what": "pipeline"' in pipeline


@pytest.fixture
def two_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Start two Ray nodes with one CPU each and return their address; two workers use both."""
    (tmp_path / "token").write_text(secrets.token_hex(32))
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    address, client = (f"127.0.0.1:{port}" for port in free_ports(2))
    head = ("--head", "--port", address[10:], "--ray-client-server-port", client[10:])
    nodes: list[psutil.Popen] = []
    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as home:  # sockets: short paths
        monkeypatch.setenv("RAY_TMPDIR", home)
        try:
            for role in ((*head, "--include-dashboard", "false"), ("--address", address)):
                nodes.append(start_node(tmp_path / f"node-{len(nodes)}.txt", *role))
            yield address
        finally:
            stop_nodes(nodes)


def start_node(log: Path, *role: str) -> psutil.Popen:
    ray = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--num-cpus", "1"]
    with log.open("w") as file:
        node = psutil.Popen(
            [*ray, "--dashboard-agent-listen-port", str(free_ports(1)[0]), *role],
            cwd=log.parent,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    until = time.monotonic() + 120
    while "Ray runtime started" not in log.read_text():
        assert node.poll() is None and time.monotonic() < until, log.read_text()
        time.sleep(0.2)
    return node


def stop_nodes(nodes: list[psutil.Popen]) -> None:
    started = [child for node in nodes for child in node.children(recursive=True)]
    for node in reversed(nodes):
        node.terminate()
    for left in psutil.wait_procs([*nodes, *started], timeout=30)[1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            left.kill()
            left.wait()


def free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(number)]
        for probe in probes:
            probe.bind(("", 0))
        return [probe.getsockname()[1] for probe in probes]


@pytest.mark.slow
@pytest.mark.cluster
@runs(
    "skinserve ingest s3://",
    "skinserve train lesion --workers 16",
    "skinserve followup",
    "skinserve extract-faces",
)
def test_a_cluster_of_two_nodes_trains_and_cuts_with_all_in_the_bucket(
    guide: Guide, clinic: str, labelled: str, two_nodes: str
):
    run = f"{clinic}/runs/lesion"
    here = ("--workers", "2", "--no-gpu", "--cpus-per-worker", "1", "--run", f"{run}-cluster")

    guide.run_printed("skinserve ingest s3://")
    trained = guide.run_printed("skinserve train lesion --workers 16", *TINY, *here)
    cut = guide.run_printed("skinserve extract-faces", "--address", two_nodes, "--photos-per-part", "8")
    stranger = guide.folder / "other-token"
    stranger.write_text(secrets.token_hex(32))
    again = (
        "skinserve",
        "extract-faces",
        "data/followup/manifest.parquet",
        "faces-of-a-stranger",
        "--address",
        two_nodes,
    )
    rejected = guide.run(*again, status=1, environment={"RAY_AUTH_TOKEN_PATH": str(stranger)})

    assert f"checkpoint in {run}-cluster/checkpoint" in trained and "epoch 1 of 1" in trained
    assert not noise_in(trained)
    load_lesion_engine(storage.fetch_folder(f"{run}-cluster/checkpoint", guide.folder)).ping()
    assert f"{2 * len(PEOPLE)} photos done now" in cut
    assert [
        line
        for line in rejected.splitlines()
        if line.startswith("skinserve extract-faces: no Ray cluster at")
    ]


@pytest.mark.slow
@pytest.mark.server
@runs("skinserve serve --config my.yaml")
def test_the_server_takes_its_checkpoint_from_the_bucket(guide: Guide, clinic: str):
    run = f"{clinic}/runs/served"
    guide.run(
        "skinserve", "train", "lesion", "--workers", "0", *TINY, "--run", run, "--name", "from-the-bucket"
    )
    config = yaml.safe_load((ROOT / "serve/local.yaml").read_text())
    api = config["applications"][0]["args"]
    api["lesion"]["checkpoints"] = [f"{run}/checkpoint"]
    api["progress"]["checkpoints"] = [str(write_progress(guide.folder / "progress"))]
    (guide.folder / "my.yaml").write_text(yaml.safe_dump(config))
    [port] = free_ports(1)
    spot = next((guide.folder / "HAM10000_images").glob("*.jpg")).read_bytes()

    with guide.running("skinserve serve --config my.yaml", "--port", str(port), until="ready: "):
        answer = httpx.post(
            f"http://127.0.0.1:{port}/v1/lesion",
            content=spot,
            headers={"content-type": "image/jpeg"},
            timeout=60,
        )

    assert answer.status_code == 200, answer.text
    assert answer.json()["model"]["name"] == "from-the-bucket"
