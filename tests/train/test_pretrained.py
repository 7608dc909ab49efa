import logging
import socket
from pathlib import Path
from urllib.error import URLError

import pytest
import torch

from models.checkpoint import load_weights, read_meta
from models.lesion.network import LesionNet
from tests.random_checkpoints import write_lesion, write_progress
from train.pretrained import PretrainedWeightsError, load_pretrained, pretrained_from


def test_a_checkpoint_gives_all_its_weights(tmp_path: Path):
    folder = write_lesion(tmp_path / "first")
    meta = read_meta(folder)
    net = LesionNet(num_diagnoses=4, input_px=64)

    start = load_pretrained(net, str(folder), kind="lesion", labels=meta.labels, cache=tmp_path)

    assert f"{meta.name} {meta.version} (sha256 {meta.weights_sha256[:12]})" in start
    for name, tensor in load_weights(folder, meta).items():
        assert torch.equal(net.state_dict()[name], tensor), name


@pytest.mark.parametrize(
    ("training", "start"),
    [
        ({"init": "random"}, "random weights"),
        ({"init": "keras"}, "Keras's ImageNet weights"),
        ({"init": "checkpoint"}, "the weights of another checkpoint"),
        ({"init": "checkpoint", "start": "those of a friend"}, "those of a friend"),
        ({}, "the weights of another checkpoint"),
    ],
)
def test_what_weights_began_as_is_told_from_what_they_say(training: dict[str, str], start: str):
    assert pretrained_from(training) == start


def test_a_checkpoint_of_another_taxonomy_gives_all_but_the_diagnoses(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    folder = write_lesion(tmp_path / "first")
    net = LesionNet(num_diagnoses=2, input_px=64)

    with caplog.at_level(logging.WARNING):
        load_pretrained(net, str(folder), kind="lesion", labels=("Nevus", "Melanoma"), cache=tmp_path)

    weights = load_weights(folder, read_meta(folder))
    assert torch.equal(net.state_dict()["trunk.conv1.weight"], weights["trunk.conv1.weight"])
    assert "the last layer of the diagnosis head starts anew" in caplog.text


def test_a_checkpoint_of_the_other_kind_is_refused(tmp_path: Path):
    folder = write_progress(tmp_path / "first")

    with pytest.raises(
        PretrainedWeightsError, match="is a progress checkpoint, this run trains a lesion network"
    ):
        load_pretrained(
            LesionNet(num_diagnoses=2, input_px=64), str(folder), kind="lesion", labels=(), cache=tmp_path
        )


def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path: Path):
    with pytest.raises(PretrainedWeightsError, match=r"--init .*nowhere: no folder"):
        load_pretrained(
            LesionNet(num_diagnoses=2, input_px=64),
            str(tmp_path / "nowhere"),
            kind="lesion",
            labels=(),
            cache=tmp_path,
        )


def test_imagenet_that_cannot_be_had_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def offline(*args: object, **kwargs: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)

    with pytest.raises(
        PretrainedWeightsError, match=r"cannot be had .*resnet50-11ad3fa6\.pth.*--init random"
    ):
        load_pretrained(
            LesionNet(num_diagnoses=2, input_px=64), "imagenet", kind="lesion", labels=(), cache=tmp_path
        )


def test_a_network_that_swallows_packets_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        monkeypatch.setattr("train.pretrained.NETWORK_TIMEOUT_S", 0.2)

        with pytest.raises(PretrainedWeightsError, match="timed out"):
            load_pretrained(
                LesionNet(num_diagnoses=2, input_px=64), "imagenet", kind="lesion", labels=(), cache=tmp_path
            )


def test_a_damaged_file_of_imagenet_weights_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    (tmp_path / "hub/checkpoints/resnet50-11ad3fa6.pth").write_bytes(b"<html>")

    with pytest.raises(PretrainedWeightsError, match=r"cannot be had .*hub/checkpoints"):
        load_pretrained(
            LesionNet(num_diagnoses=2, input_px=64), "imagenet", kind="lesion", labels=(), cache=tmp_path
        )
