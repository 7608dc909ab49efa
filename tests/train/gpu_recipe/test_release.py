from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from models.checkpoint import read_meta, read_model_card
from models.lesion.gate import gate_of
from models.lesion.metrics import LesionMetrics
from models.lesion.network import LesionNet
from tests.random_checkpoints import drawn_localizer
from tests.train.gpu_recipe.drawn_lesions import draw_folder
from train.gpu_recipe.measure import DIAGNOSES
from train.gpu_recipe.release import RecipeData, evaluate, release
from train.gpu_recipe.split import draw_split, read_rows, write_split
from train.lesion.degradations import DEGRADATIONS

pytestmark = pytest.mark.slow

INPUT_PX = 32


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of random weights, released on drawn photos, some of them without a diagnosis."""
    folder = tmp_path_factory.mktemp("release")
    lesions = draw_folder(folder / "photos")
    table = lesions / "lesions.csv"
    table.write_text(table.read_text().replace(",nv,", ",benign,", 30))
    write_split(folder / "split.csv", draw_split(read_rows(lesions)))
    faces = folder / "faces"
    faces.mkdir()
    (faces / "people.csv").write_text("image,person\n")
    (folder / "localizer.onnx").write_bytes(drawn_localizer())
    torch.manual_seed(1)
    net = LesionNet(num_diagnoses=len(DIAGNOSES), input_px=INPUT_PX, scope_head=True)
    save_file(net.state_dict(), folder / "net.safetensors")
    data = RecipeData(
        lesions=lesions, faces=faces, split=folder / "split.csv", localizer=folder / "localizer.onnx"
    )
    release(folder / "net.safetensors", data, folder / "out", input_px=INPUT_PX, version="0")
    evaluate(data, folder / "out", every=1)
    return folder / "out"


def test_release_writes_metrics_of_every_source(checkpoint: Path) -> None:
    metrics = read_meta(checkpoint).metrics

    assert isinstance(metrics, LesionMetrics)
    sources = {"ham10000", "pad_ufes_20", "isic_msk"}
    assert set(metrics.by_source) == set(metrics.test_by_source) == sources
    assert sum(source.n for source in metrics.by_source.values()) == metrics.n
    assert set(metrics.verdicts) == sources | {"dermoscopy", "phone photos", "all"}
    assert "drawn" in metrics.verdicts_without_lesion
    assert set(metrics.silent_misses) <= {*DEGRADATIONS, "all"}


def test_release_writes_gate_and_thresholds_of_the_network(checkpoint: Path) -> None:
    meta = read_meta(checkpoint)
    gate = gate_of(meta)

    assert gate is not None and set(gate.false_rejections) == {"ham10000", "pad_ufes_20", "isic_msk"}
    assert (checkpoint / "localizer.onnx").read_bytes() == drawn_localizer()
    assert 0 <= meta.thresholds["benign"] <= meta.thresholds["malignant"] <= 1


def test_release_states_the_settings_of_the_recipe_and_the_limits(checkpoint: Path) -> None:
    meta, card = read_meta(checkpoint), read_model_card(checkpoint)

    assert meta.training["recipe"] == "train.gpu_recipe" and meta.training["batch_size"] == 192
    assert len(meta.labels) == 8 and meta.labels[-1] == "Squamous Cell Carcinoma"
    assert "from Keras's ImageNet weights" in card and "## Limits of these weights" in card
    assert "{" not in card
