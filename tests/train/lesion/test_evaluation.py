"""The evaluation of lesion checkpoints as served: localizer, gate and three verdicts, on drawn photos."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.lesion.engine_loader import load_lesion_engine
from models.lesion.gate import LesionGate, gate_of
from models.lesion.localizer import Localizer
from models.lesion.preparation import prepare_lesion
from tests.lesion_pictures import BLUE, spots
from tests.random_checkpoints import random_gate, write_lesion, write_progress
from train.data.manifest import Row, write_manifest
from train.evaluate import main
from train.lesion.degradations import DEGRADATIONS
from train.lesion.evaluation import evaluate_lesion

KNOWN = ("Nevus", "Seborrheic Keratosis", "Atypical Melanocytic Proliferation", "Atypical Spitz Tumor")
"""Two benign diagnoses, then two that count as malignant."""
NUM_PHOTOS = 16
SOURCES = ("clinic", "phone")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """Draw spots left of the middle, in two folders; the last photo shows no skin."""
    folder = tmp_path_factory.mktemp("photos")
    rows: list[Row] = []
    for number in range(NUM_PHOTOS):
        path = folder / SOURCES[number % 2] / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        left = 30 + 2 * number
        data = spots((left, 90, left + 50, 140))
        path.write_bytes(spots(colour=BLUE) if number == NUM_PHOTOS - 1 else data)
        label = KNOWN[number // 2 % 4]
        row = Row(image=str(path), label=label, lesion=str(number), skin_type=("II", "", "V")[number % 3])
        rows.append(row)
    return rows


@pytest.fixture(scope="module")
def without_lesion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of a lesion where none should be, and pictures of a blue wall."""
    folder = tmp_path_factory.mktemp("without")
    (folder / "walls" / "more").mkdir(parents=True)
    (folder / "skin").mkdir()
    (folder / "walls" / "1.jpg").write_bytes(spots(colour=BLUE))
    (folder / "walls" / "more" / "2.jpg").write_bytes(spots(colour=BLUE, size=(240, 240)))
    (folder / "walls" / "broken.jpg").write_bytes(b"no picture")
    (folder / "skin" / "3.jpg").write_bytes(spots((100, 80, 180, 150)))
    (folder / "readme.txt").write_text("sources of the pictures")
    return folder


@dataclass(frozen=True)
class Evaluated:
    report: dict[str, Any]
    page: str


def write_gated(
    folder: Path, *, benign: float = 0.0, malignant: float = 0.0, gate: LesionGate | None = None
) -> Path:
    """By default every usable photo is called malignant."""
    return write_lesion(
        folder,
        input_px=32,
        scope_head=True,
        gate=gate or random_gate(),
        thresholds={"malignant": malignant, "benign": benign, "name_diagnosis": 0.1},
    )


def evaluate(checkpoint: Path, rows: list[Row], folder: Path, *options: str) -> Evaluated:
    write_manifest(rows, folder / "manifest.parquet")
    status = main([str(checkpoint), str(folder / "manifest.parquet"), f"--out={folder / 'out'}", *options])
    assert status == 0
    report = json.loads((folder / "out" / "report.json").read_text(encoding="utf-8"))
    return Evaluated(report, (folder / "out" / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def evaluated(rows: list[Row], without_lesion: Path, tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    """Evaluate all photos, degraded ones and pictures without a lesion; usable photos are malignant."""
    folder = tmp_path_factory.mktemp("gated")
    options = ("--degrade", f"--without-lesion={without_lesion}")
    return evaluate(write_gated(folder / "checkpoint"), rows, folder, *options)


def test_the_network_reads_the_crops_of_the_localizer(rows: list[Row], tmp_path: Path):
    checkpoint = write_gated(tmp_path)
    engine = load_lesion_engine(checkpoint, engine="pytorch")
    gate = gate_of(engine.meta)
    assert gate is not None
    localizer = Localizer(checkpoint, gate)
    some = [rows[0], rows[4]]  # benign, malignant

    found = evaluate_lesion(engine, some, localizer=localizer)

    def risks(with_localizer: Localizer | None) -> np.ndarray:
        photos = [Path(row.image).read_bytes() for row in some]
        crops = [prepare_lesion(one, localizer=with_localizer, side_px=32).image_HWC for one in photos]
        return engine(np.stack(crops)).malignant_B

    def threshold_of(risk_B: np.ndarray) -> float:
        """Return the highest threshold at which the malignant photo is detected."""
        return float(risk_B[1])

    threshold = found.metrics.risk.threshold_at_95_sensitivity.value
    assert threshold == pytest.approx(threshold_of(risks(localizer)), abs=1e-4)
    assert threshold != pytest.approx(threshold_of(risks(None)), abs=1e-4)


def test_a_photo_that_the_gate_rejects_is_inconclusive_and_not_usable(evaluated: Evaluated):
    verdicts = evaluated.report["verdicts"]

    assert verdicts["has_gate"] and verdicts["overall"]["n"] == NUM_PHOTOS
    assert (
        verdicts["overall"]["not_usable"]["value"] == verdicts["overall"]["inconclusive"]["value"] == 1 / 16
    )
    assert verdicts["overall"]["called_malignant"] == {"value": 1, "low": 0.6306, "high": 1, "n": 8}
    assert verdicts["overall"]["called_benign"] == {"value": 0, "low": 0, "high": 0.3694, "n": 8}
    effects = {one["code"]: one["effect"] for one in verdicts["reasons"]}
    assert set(effects.values()) == {"not usable"} and set(effects) <= {"no_lesion", "not_skin"}
    assert (
        "the gate rejects photos" in evaluated.page
        and f"<code>{next(iter(effects))}</code>" in evaluated.page
    )


def test_verdicts_and_metrics_are_given_by_source_and_skin_type(evaluated: Evaluated):
    by = evaluated.report["verdicts"]["subgroups"]

    assert {one["name"]: one["verdicts"]["n"] for one in by["source"]} == {"clinic": 8, "phone": 8}
    assert {one["name"]: one["verdicts"]["not_usable"]["value"] for one in by["source"]} == {
        "clinic": 0,
        "phone": 0.125,
    }
    assert [one["name"] for one in by["skin type"]] == ["II", "V", "not recorded"]
    assert [one["n"] for one in evaluated.report["subgroups"]["source"]] == [8, 8]
    assert "Source is the name of a photo's folder" in evaluated.page.replace("&#39;", "'")


def test_photos_in_one_folder_have_no_source(rows: list[Row], tmp_path: Path):
    report = evaluate(write_gated(tmp_path / "checkpoint"), rows[:8:2], tmp_path).report

    assert "source" not in report["subgroups"] and "source" not in report["verdicts"]["subgroups"]


def test_degradations_are_of_the_detected_malignant_photos(evaluated: Evaluated):
    degradations = evaluated.report["verdicts"]["degradations"]

    assert [one["name"] for one in degradations] == [*DEGRADATIONS, "judgeable, together", "all"]
    # 8 malignant photos, the one without skin is not detected
    assert {one["malignant"]["n"] for one in degradations[:-2]} == {7}
    assert [one["malignant"]["n"] for one in degradations[-2:]] == [3 * 7, 12 * 7]
    for one in degradations:
        assert sum(one[name]["value"] for name in ("malignant", "inconclusive", "benign")) == pytest.approx(
            1, abs=1e-3
        )
        assert one["benign"]["value"] == 0, "every usable photo is called malignant"
    assert "Degraded photos" in evaluated.page and "a silent miss" in evaluated.page


@pytest.mark.slow
def test_a_distant_lesion_is_too_small_for_the_gate(rows: list[Row], tmp_path: Path):
    checkpoint = write_gated(tmp_path / "checkpoint", gate=random_gate(min_box_px=20))

    found = evaluate(checkpoint, [rows[0], rows[4]], tmp_path, "--degrade").report

    shares = {one["name"]: one["inconclusive"]["value"] for one in found["verdicts"]["degradations"]}
    assert shares["a quarter of the frame"] == 1, "the spot is 47 px wide before, 12 px after"
    assert shares["half the frame"] == shares["JPEG quality 10"] == 0
    assert shares["all"] == pytest.approx(1 / 12, abs=1e-3)


def test_pictures_without_a_lesion_are_counted_by_sub_folder(evaluated: Evaluated):
    shares = evaluated.report["verdicts"]["without_lesion"]

    assert {kind: (one["value"], one["n"]) for kind, one in shares.items()} == {
        "skin": (1.0, 1),
        "walls": (0.0, 2),
    }
    assert "1 pictures without a lesion left out: they cannot be read." in evaluated.report["notices"]
    assert "Pictures without a lesion" in evaluated.page


def test_two_thresholds_give_a_curve_of_risk_against_coverage(rows: list[Row], tmp_path: Path):
    found = evaluate(write_gated(tmp_path / "checkpoint", malignant=1.0), rows, tmp_path)

    verdicts = found.report["verdicts"]
    assert verdicts["overall"]["inconclusive"]["value"] == 1
    assert [one["effect"] for one in verdicts["reasons"] if one["code"] == "near_threshold"] == [
        "inconclusive"
    ]
    assert verdicts["risk_by_coverage"][0]["coverage"] == 15 / 16
    assert "Risk against coverage" in found.page and found.page.count("<svg") == 4


def test_missing_photos_are_left_out_and_the_others_keep_their_rows(rows: list[Row], tmp_path: Path):
    gone = replace(rows[0], image="/nowhere/gone.jpg", skin_type="VI")

    report = evaluate(write_gated(tmp_path / "checkpoint"), [gone, *rows], tmp_path).report

    assert report["n"] == NUM_PHOTOS and report["left_out"] == {"the photo cannot be read": 1}
    names = [one["name"] for one in report["verdicts"]["subgroups"]["skin type"]]
    assert names == ["II", "V", "not recorded"]


def test_a_checkpoint_without_a_gate_reports_two_verdicts_and_no_curve(rows: list[Row], tmp_path: Path):
    found = evaluate(write_lesion(tmp_path / "checkpoint", input_px=32), rows, tmp_path)

    verdicts = found.report["verdicts"]
    assert not verdicts["has_gate"] and verdicts["risk_by_coverage"] == []
    assert verdicts["overall"]["inconclusive"]["value"] == 0
    assert verdicts["overall"]["called_benign"]["value"] == pytest.approx(
        1 - found.report["metrics"]["risk"]["sensitivity"]["value"], abs=1e-3
    )
    assert "The checkpoint has no gate" in found.page


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--degrade"], "--degrade needs a checkpoint with a gate; lesion-random 0 has none"),
        (["--without-lesion", "."], "--without-lesion needs a checkpoint with a gate"),
        (["--degrade", "--without-lesion", "."], "--degrade and --without-lesion need a checkpoint"),
        (["--faces", "."], "--faces is for progress checkpoints, lesion-random 0 is a lesion checkpoint"),
        (["--engine", "onnxruntime-int8"], "int8"),
    ],
)
def test_options_that_the_checkpoint_does_not_support_are_rejected_in_one_line(
    rows: list[Row], tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
):
    checkpoint = write_lesion(tmp_path / "checkpoint", input_px=32)
    write_manifest(rows, tmp_path / "manifest.parquet")

    status = main([str(checkpoint), str(tmp_path / "manifest.parquet"), *options])

    printed = capsys.readouterr().err
    assert status == 1
    assert message in printed and printed.count("\n") == 1


def test_a_folder_without_pictures_is_rejected_before_the_evaluation(
    rows: list[Row], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "list.csv").write_text("image\n")
    checkpoint = write_gated(tmp_path / "checkpoint")
    write_manifest(rows, tmp_path / "manifest.parquet")

    status = main(
        [str(checkpoint), str(tmp_path / "manifest.parquet"), f"--without-lesion={tmp_path / 'empty'}"]
    )

    printed = capsys.readouterr().err
    assert status == 1 and "has no picture in a format that the server reads" in printed
    assert "photos" not in printed.replace("the photos", "")


def test_lesion_options_are_rejected_for_a_progress_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    checkpoint = write_progress(tmp_path / "checkpoint")

    assert main([str(checkpoint), "manifest.parquet", "--degrade"]) == 1
    assert "--degrade is for lesion checkpoints, progress-random 0" in capsys.readouterr().err


@pytest.mark.slow
def test_the_report_names_the_engine(rows: list[Row], tmp_path: Path):
    found = evaluate(write_gated(tmp_path / "checkpoint"), rows[:8], tmp_path, "--engine", "onnxruntime")

    assert found.report["engine"] == "onnxruntime" and "<dd>onnxruntime</dd>" in found.page
