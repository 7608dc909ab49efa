import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from models import storage
from models.checkpoint import (
    LOCALIZER,
    META,
    CheckpointError,
    CheckpointMeta,
    load_int8_ranges,
    load_weights,
    local_checkpoint,
    read_meta,
    read_model_card,
    save_checkpoint,
    save_gate,
    unwrap,
    verify_checkpoint,
)
from models.lesion.network import LesionNet
from tests.local_bucket import new_bucket, s3_server
from tests.random_checkpoints import drawn_localizer, random_gate, random_meta, write_lesion


def tiny_meta(**changes: object) -> CheckpointMeta:
    return random_meta("lesion", **{"architecture": {}} | changes)


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def test_a_saved_checkpoint_is_loaded(tmp_path: Path, net: nn.Module):
    saved = save_checkpoint(tmp_path, net, tiny_meta(), "# Card")

    weights = load_weights(tmp_path, read_meta(tmp_path))

    assert read_meta(tmp_path) == saved
    assert read_model_card(tmp_path) == "# Card"
    assert weights.keys() == net.state_dict().keys()
    for name, tensor in net.state_dict().items():
        assert weights[name].dtype == tensor.dtype
        assert torch.allclose(weights[name], tensor, rtol=1e-3)


def test_kernels_are_stored_as_float16_and_vectors_as_float32(tmp_path: Path, net: nn.Module):
    save_checkpoint(tmp_path, net, tiny_meta(), "")

    weights = load_weights(tmp_path, read_meta(tmp_path))

    assert torch.equal(weights["0.weight"], net.state_dict()["0.weight"].half().float())
    assert torch.equal(weights["0.bias"], net.state_dict()["0.bias"])


def test_a_changed_byte_of_the_weights_is_rejected(tmp_path: Path, net: nn.Module):
    meta = save_checkpoint(tmp_path, net, tiny_meta(), "")
    path = tmp_path / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")

    with pytest.raises(CheckpointError, match=r"sha256 .* fetch it again"):
        load_weights(tmp_path, meta)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e6])
def test_weights_that_are_not_finite_are_rejected(tmp_path: Path, net: nn.Module, value: float):
    """Int8 engines would convert NaN to integers; 1e6 is infinite in float16."""
    with torch.no_grad():
        net.state_dict()["0.weight"][0, 0, 0, 0] = value
    meta = save_checkpoint(tmp_path, net, tiny_meta(), "")

    with pytest.raises(CheckpointError, match=r"NaN or infinite \(0\.weight\)"):
        load_weights(tmp_path, meta)


def test_a_relative_path_is_that_of_the_working_folder_or_else_beside_our_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert read_meta(local_checkpoint("weights/progress")).kind == "progress"

    Path("weights/progress").mkdir(parents=True)
    assert local_checkpoint("weights/progress") == Path("weights/progress")
    assert local_checkpoint("nowhere") == Path("nowhere")


def test_another_format_version_is_rejected_with_both_versions(tmp_path: Path, net: nn.Module):
    save_checkpoint(tmp_path, net, tiny_meta(format_version=7), "")

    with pytest.raises(CheckpointError, match="has format version 7, this code needs 1"):
        read_meta(tmp_path)


def test_unknown_fields_of_a_newer_version_are_reported_as_its_version(tmp_path: Path, net: nn.Module):
    save_checkpoint(tmp_path, net, tiny_meta(), "")
    path = tmp_path / "meta.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 2, "quantization": {}}))

    with pytest.raises(CheckpointError, match="has format version 2, this code needs 1"):
        read_meta(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"format_version": 1}'])
def test_a_damaged_meta_is_rejected(tmp_path: Path, content: str):
    (tmp_path / "meta.json").write_text(content)

    with pytest.raises(CheckpointError, match=r"meta\.json does not fit|has no format_version"):
        read_meta(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": ["Nevus", "Nevus"]}, "labels has duplicates: Nevus, Nevus"),
        ({"groups": {"Nevus": "benign"}}, "must have the labels as its keys"),
        ({"groups": {"Nevus": "benign", "Melanoma": "Malignant"}}, r"groups\.Melanoma"),
        ({"architecture": {"num_diagnoses": 3}}, "must be the number of labels"),
        ({"architecture": {"input_px": 224}}, "must equal input_px"),
        ({"thresholds": {"malignant": 7.0}}, r"thresholds\.malignant"),
        ({"ranking_weights": {"Nevus": 1, "Melanoma": float("inf")}}, r"ranking_weights\.Melanoma"),
    ],
)
def test_an_inconsistent_meta_is_rejected(
    tmp_path: Path, net: nn.Module, change: dict[str, object], message: str
):
    save_checkpoint(tmp_path, net, tiny_meta(), "")
    path = tmp_path / "meta.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))

    with pytest.raises(CheckpointError, match=message):
        read_meta(tmp_path)


@pytest.mark.parametrize("lost", ["meta.json", "weights.safetensors", "MODEL_CARD.md"])
def test_the_error_names_the_missing_file(tmp_path: Path, net: nn.Module, lost: str):
    meta = save_checkpoint(tmp_path, net, tiny_meta(), "")
    (tmp_path / lost).unlink()

    with pytest.raises(CheckpointError, match=lost):
        read_meta(tmp_path)
        read_model_card(tmp_path)
        load_weights(tmp_path, meta)


@pytest.mark.parametrize(
    "content", ["{", "[]", "null", '{"stem": 1}', '{"stem": [0]}', '{"stem": [0, null]}']
)
def test_malformed_ranges_are_rejected(tmp_path: Path, content: str):
    (tmp_path / "int8.json").write_text(content)
    meta = tiny_meta(int8_sha256=hashlib.sha256(content.encode()).hexdigest())

    with pytest.raises(
        CheckpointError, match=r"int8\.json must map each activation to two numbers .* release"
    ):
        load_int8_ranges(tmp_path, meta)


def test_reading_meta_needs_no_torch():
    code = "import sys, models.checkpoint; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_unwrap_returns_the_network_of_an_averaged_model(net: nn.Module):
    assert unwrap(torch.optim.swa_utils.AveragedModel(net)).state_dict().keys() == net.state_dict().keys()
    assert unwrap(net) is net


@pytest.mark.parametrize("home", ["{writable}", "/proc"])
def test_a_checkpoint_on_s3_is_downloaded_once_also_where_the_home_is_read_only(
    tmp_path: Path, net: nn.Module, monkeypatch: pytest.MonkeyPatch, home: str
):
    monkeypatch.setenv("HOME", home.format(writable=tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    saved = save_checkpoint(tmp_path / "made", net, tiny_meta(), "# Card")
    with s3_server(), new_bucket("released") as bucket:
        storage.upload_folder(tmp_path / "made", f"{bucket}/tiny")

        first, second = (local_checkpoint(f"{bucket}/tiny") for _ in range(2))

    assert first == second and first.is_relative_to(tmp_path)
    assert read_meta(first) == saved


def test_a_missing_checkpoint_on_s3_is_reported():
    with (
        s3_server(),
        new_bucket("released") as bucket,
        pytest.raises(CheckpointError, match="there are no objects"),
    ):
        local_checkpoint(f"{bucket}/tiny")


def test_a_gate_is_saved_with_its_localizer_and_hashes(tmp_path: Path):
    folder = write_lesion(tmp_path, gate=random_gate(), scope_head=True)

    meta = read_meta(folder)

    content = (folder / LOCALIZER).read_bytes()
    assert content == drawn_localizer()
    assert meta.gate is not None and meta.gate["network_sha256"] == meta.weights_sha256
    assert meta.gate["localizer_sha256"] == hashlib.sha256(content).hexdigest()


def test_saving_without_a_gate_removes_the_localizer_of_an_earlier_release(tmp_path: Path):
    write_lesion(tmp_path, gate=random_gate())

    write_lesion(tmp_path)

    assert not (tmp_path / LOCALIZER).exists() and read_meta(tmp_path).gate is None


def test_a_gate_needs_its_localizer_and_its_network(tmp_path: Path):
    net = LesionNet(num_diagnoses=2, input_px=64)
    gate = random_gate().model_dump()
    with pytest.raises(CheckpointError, match=r"a checkpoint with a gate needs localizer.onnx"):
        save_checkpoint(tmp_path, net, random_meta("lesion", gate=gate), "")
    with pytest.raises(CheckpointError, match="give both or neither"):
        save_checkpoint(tmp_path, net, random_meta("lesion"), "", localizer_onnx=b"1")
    assert not any(tmp_path.iterdir()), "nothing was written"

    folder = write_lesion(tmp_path)
    for field in ("network_sha256", "localizer_sha256"):
        with pytest.raises(CheckpointError, match=rf"gate.{field} is 0000.*, but .* fit it again"):
            save_gate(folder, gate | {field: "0" * 64}, drawn_localizer())
    assert read_meta(folder).gate is None


def test_a_benign_threshold_above_the_malignant_one_is_rejected(tmp_path: Path):
    folder = write_lesion(tmp_path, thresholds={"benign": 0.2, "malignant": 0.5, "name_diagnosis": 0.1})
    assert read_meta(folder).thresholds["benign"] == 0.2

    meta = json.loads((folder / META).read_text())
    meta["thresholds"]["benign"] = 0.6
    (folder / META).write_text(json.dumps(meta))

    with pytest.raises(CheckpointError, match=r"thresholds.benign must be at most thresholds.malignant, 0.5"):
        read_meta(folder)


def test_verification_reads_every_file_that_serving_needs(tmp_path: Path):
    folder = write_lesion(tmp_path, scope_head=True, gate=random_gate(), int8_ranges={"input": (0.0, 1.0)})
    assert verify_checkpoint(folder).name == "lesion-random"

    for name in ("weights.safetensors", "int8.json", LOCALIZER):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content + b" ")
        with pytest.raises(CheckpointError, match=rf"{name} has sha256"):
            verify_checkpoint(folder)
        (folder / name).write_bytes(content)
    (folder / "MODEL_CARD.md").unlink()
    with pytest.raises(CheckpointError, match=r"has no MODEL_CARD\.md"):
        verify_checkpoint(folder)


def test_verification_rejects_the_gate_of_another_network(tmp_path: Path):
    folder = write_lesion(tmp_path, scope_head=True, gate=random_gate())
    meta = json.loads((folder / META).read_text())
    meta["gate"]["network_sha256"] = "0" * 64
    (folder / META).write_text(json.dumps(meta))

    with pytest.raises(CheckpointError, match="was fitted to other weights; calibrate the gate"):
        verify_checkpoint(folder)
