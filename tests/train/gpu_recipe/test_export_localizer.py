import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

from models.checkpoint import CheckpointError
from models.lesion.localizer import Localizer
from models.normalization import MEAN, STD
from tests.random_checkpoints import random_gate
from train.gpu_recipe import export_localizer
from train.gpu_recipe.export_localizer import load_localizer, main
from train.gpu_recipe.networks import LesionLocalizer


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("localizer")
    torch.manual_seed(0)
    channels = (4, 6, 8, 10)
    net = LesionLocalizer(channels)
    for part in net.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(part.get_buffer("running_var"), 0.5, 1.5)
    torch.nn.init.normal_(net.gate.weight)
    content = save({name: tensor.half() for name, tensor in net.state_dict().items()})
    (folder / "weights.safetensors").write_bytes(content)
    meta = {"architecture": {"channels": channels}, "mean": MEAN, "std": STD}
    meta["weights_sha256"] = hashlib.sha256(content).hexdigest()
    (folder / "meta.json").write_text(json.dumps(meta))
    return folder


def test_the_file_gives_the_outputs_of_the_network_for_one_photo(trained: Path, tmp_path: Path):
    main(["--localizer", str(trained), "--out", str(tmp_path / "localizer.onnx")])

    content = (tmp_path / "localizer.onnx").read_bytes()
    gate = random_gate(localizer_sha256=hashlib.sha256(content).hexdigest())
    image_HWC = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)
    found = Localizer(tmp_path, gate)(image_HWC)
    with torch.inference_mode():
        _, gate_BG = load_localizer(trained)(torch.from_numpy(image_HWC)[None])
    assert (found.skin, found.lesion) == pytest.approx(gate_BG[0].tolist(), abs=1e-4)


def test_an_export_that_differs_from_the_network_is_rejected(trained: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(export_localizer, "MAX_DIFFERENCE", -1.0)

    with pytest.raises(CheckpointError, match=r"differs from the network .* requirements.lock"):
        export_localizer.export_localizer(load_localizer(trained))


def test_damaged_weights_are_rejected(trained: Path, tmp_path: Path):
    (tmp_path / "meta.json").write_bytes((trained / "meta.json").read_bytes())
    (tmp_path / "weights.safetensors").write_bytes(b"damaged")

    with pytest.raises(CheckpointError, match="has sha256"):
        load_localizer(tmp_path)
    with pytest.raises(CheckpointError, match="fetch the folder again"):
        load_localizer(tmp_path / "missing")
