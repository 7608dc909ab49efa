"""The checkpoints in ``weights/``: they load, are what they say, and reach their figures on their data."""

from pathlib import Path

import pytest

from models.checkpoint import read_meta, read_model_card
from models.diagnoses import find_diagnosis, in_column_order
from models.lesion.engine_loader import load_lesion_engine
from models.lesion.metrics import LesionMetrics
from models.progress.engine import load_progress_engine
from models.progress.metrics import ProgressMetrics
from train.data.ingest.convert import Ingest, ingest
from train.data.manifest import read_manifest
from train.data.split import split_rows
from train.lesion.dataset import LesionPhotos
from train.lesion.predictions import evaluate_engine

WEIGHTS = Path(__file__).parents[2] / "weights"
MAX_TRACKED_BYTES = 60_000_000


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


def test_the_lesion_network_reaches_its_figures_on_ham10000(request: pytest.FixtureRequest, tmp_path: Path):
    folder: Path | None = request.config.getoption("--ham10000")
    if folder is None:
        pytest.skip("needs --ham10000 DIR, a folder with HAM10000_metadata.csv and the photos")
    engine = load_lesion_engine(WEIGHTS / "lesion")
    meta = engine.meta
    manifest = str(tmp_path / "manifest.parquet")
    ingest(Ingest(source=str(folder / "HAM10000_metadata.csv"), photos=str(folder), manifest=manifest))
    split = split_rows(
        read_manifest(manifest), val_fraction=meta.training["val_fraction"], seed=meta.training["seed"]
    )
    if split.fingerprint != meta.data_fingerprint:
        pytest.skip("these are other photos than those that the figures were measured on")

    found = evaluate_engine(engine, LesionPhotos(split.val, labels=meta.labels, side_px=meta.input_px))

    assert isinstance(meta.metrics, LesionMetrics)
    released = meta.metrics.diagnosis
    assert found.diagnosis.macro_auroc.value == pytest.approx(released.macro_auroc.value, abs=0.002)
    assert found.diagnosis.balanced_accuracy.value == pytest.approx(
        released.balanced_accuracy.value, abs=0.02
    )
