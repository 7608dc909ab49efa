from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from models.checkpoint import read_meta, read_model_card
from models.lesion.metrics import LesionMetrics
from models.lesion.network import LesionNet
from tests.train.gpu_recipe.drawn_lesions import draw_folder
from train.gpu_recipe.evaluate import CHANGES
from train.gpu_recipe.measure import DIAGNOSES
from train.gpu_recipe.release import evaluate, read_parts, release
from train.gpu_recipe.split import draw_split, read_rows, write_split

INPUT_PX = 32


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of random weights, released on drawn photos, some of them without a diagnosis."""
    folder = tmp_path_factory.mktemp("release")
    lesions = draw_folder(folder / "photos")
    table = lesions / "lesions.csv"
    table.write_text(table.read_text().replace(",nv,", ",benign,", 30))
    write_split(folder / "split.csv", draw_split(read_rows(lesions)))
    torch.manual_seed(1)
    net = LesionNet(num_diagnoses=len(DIAGNOSES), input_px=INPUT_PX)
    save_file(net.state_dict(), folder / "net.safetensors")
    parts = read_parts(lesions, folder / "split.csv")
    release(folder / "net.safetensors", parts, folder / "out", input_px=INPUT_PX, version="0")
    evaluate(lesions, folder / "split.csv", parts, folder / "out", every=1)
    return folder / "out"


def test_release_writes_metrics_of_every_source(checkpoint: Path) -> None:
    metrics = read_meta(checkpoint).metrics

    assert isinstance(metrics, LesionMetrics)
    assert set(metrics.by_source) == set(metrics.test_by_source) == {"ham10000", "pad_ufes_20", "isic_msk"}
    assert sum(source.n for source in metrics.by_source.values()) == metrics.n
    assert set(metrics.silent_misses) == {*CHANGES, "all"}


def test_release_states_the_settings_of_the_recipe_and_the_limits(checkpoint: Path) -> None:
    meta, card = read_meta(checkpoint), read_model_card(checkpoint)

    assert meta.training["recipe"] == "train.gpu_recipe" and meta.training["batch_size"] == 192
    assert len(meta.labels) == 8 and meta.labels[-1] == "Squamous Cell Carcinoma"
    assert "from Keras's ImageNet weights" in card and "## Limits of these weights" in card
    assert "{" not in card
