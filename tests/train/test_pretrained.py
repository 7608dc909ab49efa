from pathlib import Path

import pytest
import torch

from models.checkpoint import load_weights, read_meta
from models.lesion.network import LesionNet
from models.lesion.shapes import RESNET50
from tests.random_checkpoints import write_lesion, write_progress
from train.pretrained import PretrainedWeightsError, initialization_of, load_checkpoint_weights


def test_all_weights_of_a_checkpoint_are_loaded(tmp_path: Path):
    folder = write_lesion(tmp_path / "first", network=RESNET50)
    meta = read_meta(folder)
    net = LesionNet(num_diagnoses=4, input_px=64)

    initialization = load_checkpoint_weights(net, str(folder), kind="lesion", labels=meta.labels)

    assert f"{meta.name} {meta.version} (sha256 {meta.weights_sha256[:12]})" in initialization
    for name, tensor in load_weights(folder, meta).items():
        assert torch.equal(net.state_dict()[name], tensor), name


@pytest.mark.parametrize(
    ("training", "description"),
    [
        ({"init": "random"}, "random weights"),
        ({"init": "keras"}, "Keras's ImageNet weights"),
        ({"init": "checkpoint"}, "the weights of another checkpoint"),
        ({"init": "checkpoint", "start": "those of a friend"}, "those of a friend"),
        ({}, "the weights of another checkpoint"),
    ],
)
def test_the_initialization_is_described_from_the_training_settings(
    training: dict[str, str], description: str
):
    assert initialization_of(training) == description


def test_a_checkpoint_of_another_kind_is_rejected(tmp_path: Path):
    folder = write_progress(tmp_path / "first")

    with pytest.raises(
        PretrainedWeightsError, match="is a progress checkpoint, this run trains a lesion network"
    ):
        load_checkpoint_weights(LesionNet(num_diagnoses=2, input_px=64), str(folder), kind="lesion")


def test_a_checkpoint_with_other_shapes_is_rejected(tmp_path: Path):
    folder = write_lesion(tmp_path / "first", network=RESNET50)

    with pytest.raises(PretrainedWeightsError, match="has layers of other shapes"):
        load_checkpoint_weights(LesionNet(num_diagnoses=2, input_px=64), str(folder), kind="lesion")


def test_a_folder_that_is_no_checkpoint_is_rejected(tmp_path: Path):
    with pytest.raises(PretrainedWeightsError, match=r"--init .*nowhere: no folder"):
        load_checkpoint_weights(
            LesionNet(num_diagnoses=2, input_px=64), str(tmp_path / "nowhere"), kind="lesion"
        )
