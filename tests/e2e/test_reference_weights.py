"""The checkpoints in ``weights/``: they load, are what they say, and reach their metrics on their data."""

import hashlib
import json
from pathlib import Path

import pytest

from models.checkpoint import read_meta, read_model_card
from models.diagnoses import find_diagnosis, in_column_order
from models.lesion.engine_loader import load_lesion_engine
from models.lesion.metrics import LesionMetrics
from models.progress.engine import load_progress_engine
from models.progress.metrics import ProgressMetrics
from train.data.manifest import fingerprint_of
from train.gpu_recipe.release import read_parts, source_metrics

WEIGHTS = Path(__file__).parents[2] / "weights"
SPLIT = Path(__file__).parents[2] / "train/gpu_recipe/split.csv"
MAX_TRACKED_BYTES = 66_000_000


def test_both_networks_load_and_answer():
    load_lesion_engine(WEIGHTS / "lesion").ping()
    load_progress_engine(WEIGHTS / "progress").ping()


def test_the_lesion_network_names_diagnoses_of_the_taxonomy_in_its_order():
    meta = read_meta(WEIGHTS / "lesion")

    assert meta.labels == in_column_order(set(meta.labels))
    assert meta.groups == {label: find_diagnosis(label).group for label in meta.labels}


@pytest.mark.parametrize("name", ["lesion", "progress"])
def test_card_and_meta_state_the_licence_the_data_and_that_it_is_no_device(name: str):
    meta, card = read_meta(WEIGHTS / name), read_model_card(WEIGHTS / name)

    assert meta.data_licence in card and meta.data_licence in (WEIGHTS / "LICENSE").read_text()
    assert "not a medical device" in card
    assert isinstance(meta.metrics, LesionMetrics | ProgressMetrics) and meta.metrics.n > 0


def test_the_weights_leave_room_in_the_repository():
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) < MAX_TRACKED_BYTES


def test_the_lesion_network_reaches_its_metrics_on_every_source(request: pytest.FixtureRequest):
    folder: Path | None = request.config.getoption("--lesions")
    if folder is None:
        pytest.skip("needs --lesions DIR, a folder with lesions.csv and the photos that it names")
    engine = load_lesion_engine(WEIGHTS / "lesion")
    parts = read_parts(folder, SPLIT)
    if fingerprint_of(parts["train"], parts["val"]) != engine.meta.data_fingerprint:
        pytest.skip("the metrics were measured on other photos")

    found = source_metrics(engine, parts["val"])

    assert isinstance(engine.meta.metrics, LesionMetrics)
    for source, released in engine.meta.metrics.by_source.items():
        assert found[source].auroc.value == pytest.approx(released.auroc.value, abs=0.01)
        assert found[source].sensitivity.value == pytest.approx(released.sensitivity.value, abs=0.03)


@pytest.mark.parametrize("name", ["localizer", "lesion-small"])
def test_networks_that_are_not_served_yet_say_so_and_have_their_hash(name: str):
    folder = WEIGHTS / name
    meta = json.loads((folder / "meta.json").read_text())
    card = (folder / "MODEL_CARD.md").read_text()

    assert hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest() == meta["weights_sha256"]
    assert meta["served"] is False and "Not served yet" in card and "not a medical device" in card
