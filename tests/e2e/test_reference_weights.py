"""The checkpoints in ``weights/``: they load, are what they say, and reach their metrics on their data."""

import hashlib
import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from models.checkpoint import read_meta, read_model_card
from models.diagnoses import find_diagnosis, in_column_order
from models.lesion.engine_loader import load_lesion_engine
from models.lesion.gate import gate_of
from models.lesion.localizer import INPUT_PX, Localizer
from models.lesion.metrics import LesionMetrics
from models.progress.engine import load_progress_engine
from models.progress.metrics import ProgressMetrics
from train.data.manifest import fingerprint_of
from train.gpu_recipe.evaluate import lesion_pictures
from train.gpu_recipe.export_localizer import load_localizer
from train.gpu_recipe.release import read_parts, source_metrics
from train.lesion.gate_calibration import rejection_rates
from train.lesion.pipeline import run_pipeline

WEIGHTS = Path(__file__).parents[2] / "weights"
SPLIT = Path(__file__).parents[2] / "train/gpu_recipe/split.csv"
MAX_TRACKED_BYTES = 75_000_000


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
    gate = gate_of(engine.meta)
    assert gate is not None and isinstance(engine.meta.metrics, LesionMetrics)

    outputs = list(
        run_pipeline(engine, Localizer(WEIGHTS / "lesion", gate), lesion_pictures(folder, SPLIT, "val"))
    )

    found = source_metrics(outputs, engine.meta)
    for source, released in engine.meta.metrics.by_source.items():
        assert found[source].auroc.value == pytest.approx(released.auroc.value, abs=0.01)
        assert found[source].sensitivity.value == pytest.approx(released.sensitivity.value, abs=0.03)
    for source, rejected in rejection_rates(outputs, gate).items():
        assert rejected.value == pytest.approx(gate.false_rejections[source].value, abs=0.03)


def test_a_verdict_needs_both_thresholds_and_the_errors_of_the_whole_pipeline_are_stated():
    meta = read_meta(WEIGHTS / "lesion")

    assert isinstance(meta.metrics, LesionMetrics)
    assert 0 < meta.thresholds["benign"] < meta.thresholds["malignant"] < 1
    assert {"dermoscopy", "phone photos", "all"} <= set(meta.metrics.verdicts)
    assert meta.metrics.error_bounds["called_benign"] <= 0.08
    assert meta.metrics.verdicts_without_lesion and meta.metrics.silent_misses


def test_the_weights_of_the_localizer_have_their_hash():
    folder = WEIGHTS / "localizer"
    meta = json.loads((folder / "meta.json").read_text())

    assert hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest() == meta["weights_sha256"]
    assert "not a medical device" in (folder / "MODEL_CARD.md").read_text()


def test_localizer_onnx_is_the_export_of_the_stored_weights():
    exported = load_localizer(WEIGHTS / "localizer")
    gate = gate_of(read_meta(WEIGHTS / "lesion"))
    assert gate is not None
    session = onnxruntime.InferenceSession((WEIGHTS / "lesion" / "localizer.onnx").read_bytes())
    image_BHWC = np.random.default_rng(0).integers(0, 256, (1, INPUT_PX, INPUT_PX, 3)).astype(np.uint8)

    lesion_BHW, gate_BG = map(np.asarray, session.run(None, {"image_BHWC": image_BHWC}))

    with torch.no_grad():
        expected_BHW, expected_BG = exported(torch.from_numpy(image_BHWC))
    np.testing.assert_allclose(lesion_BHW, expected_BHW.numpy(), atol=1e-4)
    np.testing.assert_allclose(gate_BG, expected_BG.numpy(), atol=1e-4)
