import logging
import socket
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import resnet50

from models.checkpoint import load_weights, read_meta
from models.lesion.network import LesionNet
from models.lesion.shapes import RESNET50
from tests.random_checkpoints import write_lesion
from train.lesion.pretrained import initialize
from train.pretrained import PretrainedWeightsError


@pytest.fixture
def net() -> LesionNet:
    return LesionNet(num_diagnoses=2, input_px=64)


def test_a_checkpoint_with_other_diagnoses_leaves_the_last_layer_random(
    net: LesionNet, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    folder = write_lesion(tmp_path / "first", network=RESNET50)

    with caplog.at_level(logging.WARNING):
        initialize(net, str(folder), labels=("Nevus", "Melanoma"))

    weights = load_weights(folder, read_meta(folder))
    assert torch.equal(net.state_dict()["trunk.conv1.weight"], weights["trunk.conv1.weight"])
    assert "the last layer of the diagnosis head stays random" in caplog.text


def test_a_safetensors_file_initializes_the_backbone(net: LesionNet, tmp_path: Path):
    weights = {name: one for name, one in resnet50().state_dict().items() if not name.startswith("fc.")}
    save_file(weights, tmp_path / "backbone.safetensors", metadata={"description": "weights of a friend"})

    initialization = initialize(net, str(tmp_path / "backbone.safetensors"), labels=())

    assert initialization == "weights of a friend"
    assert torch.equal(net.backbone.conv1.weight, weights["conv1.weight"])


def test_a_safetensors_file_of_another_network_is_rejected(net: LesionNet, tmp_path: Path):
    save_file({"conv1.weight": torch.zeros(2)}, tmp_path / "backbone.safetensors")

    with pytest.raises(PretrainedWeightsError, match="does not fit a ResNet50 backbone"):
        initialize(net, str(tmp_path / "backbone.safetensors"), labels=())


@pytest.mark.parametrize("content", [b"", b"<html>", None])
def test_a_damaged_or_missing_safetensors_file_is_rejected(
    net: LesionNet, tmp_path: Path, content: bytes | None
):
    file = tmp_path / "backbone.safetensors"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(PretrainedWeightsError, match=r"backbone\.safetensors cannot be read"):
        initialize(net, str(file), labels=())


def test_imagenet_weights_that_cannot_be_downloaded_are_reported_with_a_way_out(
    net: LesionNet, monkeypatch: pytest.MonkeyPatch
):
    def offline(*args: object, **kwargs: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)

    with pytest.raises(
        PretrainedWeightsError, match=r"cannot be downloaded .*resnet50-11ad3fa6\.pth.*--init random"
    ):
        initialize(net, "imagenet", labels=())


def test_a_download_without_an_answer_times_out(
    net: LesionNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        monkeypatch.setattr("train.lesion.pretrained.DOWNLOAD_TIMEOUT_S", 0.2)

        with pytest.raises(PretrainedWeightsError, match="timed out"):
            initialize(net, "imagenet", labels=())


def test_a_damaged_file_of_imagenet_weights_is_rejected(
    net: LesionNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    (tmp_path / "hub/checkpoints/resnet50-11ad3fa6.pth").write_bytes(b"<html>")

    with pytest.raises(PretrainedWeightsError, match=r"cannot be downloaded .*hub/checkpoints"):
        initialize(net, "imagenet", labels=())
