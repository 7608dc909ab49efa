import json
from pathlib import Path

import pytest

from models.checkpoint import CheckpointError
from serve.lesion.config import LesionConfig
from serve.lesion.task import build
from tests.random_checkpoints import random_gate, write_lesion


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_lesion(tmp_path, scope_head=True, gate=random_gate(min_scope=0.5))


def test_a_gate_of_another_network_stops_the_start(folder: Path):
    path = folder / "meta.json"
    meta = json.loads(path.read_text(encoding="utf-8"))
    meta["gate"]["network_sha256"] = "0" * 64
    path.write_text(json.dumps(meta), encoding="utf-8")

    with pytest.raises(CheckpointError, match="was fitted to the network 000000000000"):
        build(LesionConfig(checkpoints=(str(folder),)))


def test_a_missing_or_changed_localizer_stops_the_start(folder: Path):
    config = LesionConfig(checkpoints=(str(folder),))
    build(config)
    path = folder / "localizer.onnx"

    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(CheckpointError, match=r"localizer\.onnx has sha256"):
        build(config)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"has no localizer\.onnx; fetch"):
        build(config)
