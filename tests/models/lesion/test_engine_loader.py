import shutil
from pathlib import Path

import pytest

from models.checkpoint import (
    INT8,
    CheckpointError,
    read_meta,
    save_checkpoint,
)
from models.lesion.engine_loader import load_lesion_engine, supported_int8_runtimes
from models.lesion.network import LesionEnsemble, LesionNet
from models.lesion.runtimes import EngineName, Runtime
from models.progress.engine import load_progress_engine
from tests.int8_checkpoint import INT8_ACCEPTED, save_variant
from tests.random_checkpoints import int8_accepted, random_meta

ENGINES: tuple[EngineName, ...] = ("onnxruntime", "pytorch")


def test_a_checkpoint_of_the_other_kind_is_rejected(lesion_folder: Path, progress_folder: Path):
    with pytest.raises(CheckpointError, match="is a progress network, a lesion network is needed"):
        load_lesion_engine(progress_folder)
    with pytest.raises(CheckpointError, match="is a lesion network, a progress network is needed"):
        load_progress_engine(lesion_folder)


def test_an_unknown_architecture_argument_is_rejected(tmp_path: Path):
    meta = random_meta("lesion", architecture={"num_diagnoses": 2, "input_px": 64, "layers": 3})
    save_checkpoint(tmp_path, LesionNet(num_diagnoses=2, input_px=64), meta, "")

    for engine in ENGINES:
        with pytest.raises(CheckpointError, match=r"(?s)does not fit .*layers"):
            load_lesion_engine(tmp_path, engine=engine)


def test_weights_of_another_network_are_rejected(tmp_path: Path):
    save_checkpoint(tmp_path, LesionNet(num_diagnoses=3, input_px=64), random_meta("lesion"), "")

    for engine in ENGINES:
        with pytest.raises(CheckpointError, match=r"(?s)does not fit .*diagnosis_head"):
            load_lesion_engine(tmp_path, engine=engine)


def test_weights_that_the_architecture_lacks_are_rejected(tmp_path: Path):
    net = LesionNet(num_diagnoses=2, input_px=64, scope_head=True)
    save_checkpoint(tmp_path, net, random_meta("lesion"), "")

    for engine in ENGINES:
        with pytest.raises(CheckpointError, match=r"(?s)does not fit .*scope_head"):
            load_lesion_engine(tmp_path, engine=engine)


@pytest.mark.slow
def test_an_ensemble_with_missing_weights_is_rejected(tmp_path: Path):
    architecture = {"num_members": 3, "num_diagnoses": 2, "input_px": 64}
    net = LesionEnsemble(num_members=2, num_diagnoses=2, input_px=64)
    save_checkpoint(tmp_path, net, random_meta("lesion", architecture=architecture), "")

    for engine in ENGINES:
        with pytest.raises(CheckpointError, match=r"(?s)does not fit .*members.2"):
            load_lesion_engine(tmp_path, engine=engine)


def test_auto_selects_int8_only_for_a_checkpoint_with_int8(int8_folder: Path, lesion_folder: Path):
    assert load_lesion_engine(int8_folder).runtime == supported_int8_runtimes()[0]
    assert load_lesion_engine(lesion_folder).runtime == "onnxruntime"


@pytest.mark.parametrize(
    ("accepted", "expected"),
    [
        ({"onednn-int8": False, "onnxruntime-int8": True}, "onnxruntime-int8"),
        pytest.param({"onnxruntime-int8": True}, "onnxruntime-int8", marks=pytest.mark.slow),
        ({"onednn-int8": False, "onnxruntime-int8": False}, "onnxruntime"),
        pytest.param({}, "onnxruntime", marks=pytest.mark.slow),
    ],
)
def test_auto_selects_only_engines_that_the_release_accepted(
    int8_folder: Path, tmp_path: Path, accepted: dict[str, bool], expected: Runtime
):
    folder = save_variant(int8_folder, tmp_path, {}, metrics=int8_accepted(accepted))

    assert load_lesion_engine(folder).runtime == expected


def test_unknown_and_unsupported_engines_are_rejected(lesion_folder: Path):
    with pytest.raises(ValueError, match="there is no engine 'tensorrt'; take one of auto, pytorch"):
        load_lesion_engine(lesion_folder, engine="tensorrt")  # pyright: ignore[reportArgumentType]
    with pytest.raises(CheckpointError, match="no calibration ranges"):
        load_lesion_engine(lesion_folder, engine="onnxruntime-int8")
    with pytest.raises(ValueError, match="runs on a CPU, the device is cuda"):
        load_lesion_engine(lesion_folder, device="cuda", engine="onnxruntime")


def test_a_processor_without_vnni_uses_onnx_runtime(int8_folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("models.lesion.engine_loader.has_vnni", lambda: False)

    assert load_lesion_engine(int8_folder).runtime == "onnxruntime-int8"
    with pytest.raises(ValueError, match="needs AVX-512 VNNI"):
        load_lesion_engine(int8_folder, engine="onednn-int8")


def test_damaged_missing_or_wrong_ranges_are_rejected(int8_folder: Path, tmp_path: Path):
    folder = tmp_path / "damaged"
    shutil.copytree(int8_folder, folder)
    (folder / INT8).write_text("{}")
    with pytest.raises(CheckpointError, match=r"int8.json has sha256 .* fetch it again"):
        load_lesion_engine(folder)
    (folder / INT8).unlink()
    with pytest.raises(CheckpointError, match=r"has no int8.json"):
        load_lesion_engine(folder)

    net = LesionNet(num_diagnoses=2, input_px=64)
    meta = random_meta("lesion", metrics=INT8_ACCEPTED)
    save_checkpoint(folder, net, meta, "", int8_ranges={"stem": (0.0, 1.0)})
    with pytest.raises(CheckpointError, match=r"do not fit its network \(layer1.0.conv1"):
        load_lesion_engine(folder)


@pytest.mark.parametrize("name", ["pytorch", "onnxruntime"])
def test_float32_engines_ignore_the_ranges(int8_folder: Path, tmp_path: Path, name: EngineName):
    folder = tmp_path / "damaged"
    shutil.copytree(int8_folder, folder)
    (folder / INT8).unlink()

    assert load_lesion_engine(folder, engine=name).runtime == name


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("stem", (-1.0, 6.0)),
        ("layer4.2", (-0.5, 10.0)),
        ("layer2.1.conv2", (0.5, 7.0)),
        ("layer1.0.conv3", (0.1, 0.7)),
        ("layer1.0.shortcut", (-2.0, -1.0)),
        ("stem", (0.0, float("nan"))),
    ],
)
def test_a_range_without_zero_or_negative_after_a_relu_is_rejected(
    int8_folder: Path, tmp_path: Path, name: str, values: tuple[float, float]
):
    folder = save_variant(int8_folder, tmp_path, {name: values})

    with pytest.raises(CheckpointError, match=rf"do not fit its network \({name}\)"):
        load_lesion_engine(folder)


def test_saving_without_int8_removes_the_ranges_of_an_earlier_release(int8_folder: Path, tmp_path: Path):
    folder = tmp_path / "again"
    shutil.copytree(int8_folder, folder)

    save_checkpoint(folder, LesionNet(num_diagnoses=2, input_px=64), random_meta("lesion"), "")

    assert not (folder / INT8).exists() and read_meta(folder).int8_sha256 == ""
