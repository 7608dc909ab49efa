"""Checkpoints with random weights, shared by the tests of the engines."""

from pathlib import Path

import pytest
import torch

from models.checkpoint import (
    save_checkpoint,
)
from models.lesion.network import LesionEnsemble, LesionNet
from models.progress.network import ProgressNet
from tests.int8_checkpoint import write_int8
from tests.random_checkpoints import random_meta


@pytest.fixture(scope="session")
def lesion_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("lesion")
    save_checkpoint(folder, LesionNet(num_diagnoses=2, input_px=64), random_meta("lesion"), "")
    return folder


@pytest.fixture(scope="session")
def ensemble_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("ensemble")
    architecture = {"num_members": 2, "num_diagnoses": 2, "input_px": 64}
    meta = random_meta("lesion", architecture=architecture)
    save_checkpoint(folder, LesionEnsemble(num_members=2, num_diagnoses=2, input_px=64), meta, "")
    return folder


@pytest.fixture(scope="session")
def progress_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("progress")
    save_checkpoint(folder, ProgressNet(), random_meta("progress"), "")
    return folder


@pytest.fixture(scope="session")
def scope_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with scope head and calibration ranges."""
    return write_int8(tmp_path_factory.mktemp("scope"), scope_head=True)


@pytest.fixture(scope="session")
def int8_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_int8(tmp_path_factory.mktemp("int8"))
