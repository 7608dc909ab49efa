"""The pipeline of evaluation and release gives the verdicts of the server."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.lesion.engine import LesionEngine
from models.lesion.engine_loader import load_lesion_engine
from models.lesion.gate import LesionGate, gate_of
from models.lesion.localizer import Box, Localizer
from tests.models.lesion.drawn_photos import draw_spots, encoded
from tests.random_checkpoints import random_gate, write_lesion
from train.data.manifest import Row
from train.lesion.dataset import LesionPhotos
from train.lesion.pipeline import Picture, PipelineOutput, run_pipeline, unchanged

SIZE = (300, 224)
SPOT = Box(0.35, 0.3, 0.6, 0.65)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lesion(tmp_path_factory.mktemp("gated"), scope_head=True, gate=random_gate(min_scope=0))


@pytest.fixture(scope="module")
def engine(folder: Path) -> LesionEngine:
    return load_lesion_engine(folder, engine="pytorch")


@pytest.fixture(scope="module")
def gate(engine: LesionEngine) -> LesionGate:
    found = gate_of(engine.meta)
    assert found is not None
    return found


def picture(name: str, image: Image.Image, **facts: object) -> Picture:
    known = {"source": "drawn", "group": name, "malignant": False} | facts
    return Picture(name=name, data=encoded(image, "PNG"), **known)  # pyright: ignore[reportArgumentType]


@pytest.fixture(scope="module")
def outputs(folder: Path, engine: LesionEngine, gate: LesionGate) -> dict[str, PipelineOutput]:
    pictures = [
        picture("spot", draw_spots(SIZE, [SPOT])),
        picture("black", Image.new("RGB", SIZE)),
        picture("skin", draw_spots(SIZE, []), malignant=None),
        *(picture(f"spot {n}", draw_spots(SIZE, [SPOT]), degradation="none") for n in range(20)),
    ]
    found = list(run_pipeline(engine, Localizer(folder, gate), pictures))
    assert [one.picture.name for one in found] == [one.name for one in pictures]
    return {one.picture.name: one for one in found}


def test_the_localizer_finds_the_lesion_and_outputs_keep_no_pixels(
    outputs: dict[str, PipelineOutput],
) -> None:
    one = outputs["spot"]

    assert one.prepared.lesion_box is not None
    np.testing.assert_allclose(one.prepared.lesion_box, SPOT.scaled(*SIZE), atol=6)
    assert one.picture.data == b"" and one.prepared.image_HWC.size == 0


def test_every_batch_position_has_the_same_output(outputs: dict[str, PipelineOutput]) -> None:
    repeated = [outputs[f"spot {n}"].malignant_probability for n in range(20)]

    np.testing.assert_allclose(repeated, outputs["spot"].malignant_probability, atol=1e-4)


def test_problems_are_those_of_the_gate(outputs: dict[str, PipelineOutput], gate: LesionGate) -> None:
    codes = {name: [one.code for one in outputs[name].problems(gate)] for name in ("spot", "black", "skin")}

    assert codes["spot"] == [] and codes["black"] == ["too_dark"]
    assert codes["skin"] and codes["skin"][0] in ("no_lesion", "not_skin")


def test_the_verdict_follows_gate_and_thresholds(
    outputs: dict[str, PipelineOutput], gate: LesionGate
) -> None:
    probability = outputs["spot"].malignant_probability

    def verdict(name: str, benign: float, malignant: float) -> str:
        return outputs[name].verdict(gate, benign=benign, malignant=malignant)

    assert verdict("spot", 0, probability) == "malignant"
    assert verdict("spot", 0, 1) == "inconclusive"
    assert verdict("spot", 1, 1) == "benign"
    assert verdict("black", 1, 1) == "inconclusive"


def test_only_unchanged_lesion_photos_are_unchanged(outputs: dict[str, PipelineOutput]) -> None:
    assert [one.picture.name for one in unchanged(list(outputs.values()))] == ["spot", "black"]


def test_photos_for_release_are_the_crops_of_the_pipeline(
    tmp_path: Path, folder: Path, engine: LesionEngine, gate: LesionGate, outputs: dict[str, PipelineOutput]
) -> None:
    draw_spots(SIZE, [SPOT]).save(tmp_path / "spot.png")
    side_px, labels = engine.meta.input_px, engine.meta.labels
    rows = [Row(image=str(tmp_path / "spot.png"), label=labels[0])]

    photos = LesionPhotos(rows, labels=labels, side_px=side_px, localizer=Localizer(folder, gate))

    found = engine(photos.image_BHWC.numpy()).malignant_B[0]
    assert found == pytest.approx(outputs["spot"].malignant_probability, abs=1e-4)
    central = LesionPhotos(rows, labels=labels, side_px=side_px)
    assert (central.image_BHWC != photos.image_BHWC).any()
