"""The evaluation command: report.json and report.html, or an error of one line."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from models.checkpoint import read_meta
from samples.lesion import draw_lesion
from tests.random_checkpoints import write_lesion, write_progress
from train.data.manifest import Row, write_manifest
from train.data.split import split_rows, write_split
from train.evaluate import main
from train.progress.face_store import SCHEMA, write_part

KNOWN = ("Nevus", "Seborrheic Keratosis", "Atypical Melanocytic Proliferation", "Atypical Spitz Tumor")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lesion(tmp_path_factory.mktemp("checkpoint"), input_px=32)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    folder = tmp_path_factory.mktemp("photos")
    rows: list[Row] = []
    for number in range(16):
        path = folder / f"{number}.jpg"
        draw_lesion(seed=number, size_px=48).save(path)
        age = (20.0, 50.0, None)[number % 3]
        row = Row(image=str(path), label=KNOWN[number % 4], lesion=str(number), age_years=age, sex="female")
        rows.append(row)
    return rows


Evaluate = Callable[..., tuple[dict[str, Any], str]]


@pytest.fixture
def evaluate(checkpoint: Path, tmp_path: Path) -> Evaluate:
    def run(rows: list[Row], *options: str) -> tuple[dict[str, Any], str]:
        write_manifest(rows, tmp_path / "manifest.parquet")
        out = tmp_path / "out"
        assert main([str(checkpoint), str(tmp_path / "manifest.parquet"), "--out", str(out), *options]) == 0
        page = (out / "report.html").read_text(encoding="utf-8")
        return json.loads((out / "report.json").read_text(encoding="utf-8")), page

    return run


def test_the_report_has_every_metric_with_its_interval(evaluate: Evaluate, rows: list[Row]):
    report, page = evaluate(rows)

    risk = report["metrics"]["risk"]
    assert report["n"] == 16
    assert set(report["metrics"]["diagnosis"]["recall"]) == set(KNOWN)
    for name in (
        "auroc",
        "sensitivity",
        "specificity_at_95_sensitivity",
        "threshold_at_95_sensitivity",
        "ece",
    ):
        assert risk[name]["low"] <= risk[name]["value"] <= risk[name]["high"]
    assert [sum(row["counts"]) for row in report["confusion"]] == [4, 4, 4, 4]
    assert sum(one["n"] for one in report["reliability"]["risk"]) == 16
    assert page.index("Balanced accuracy") < page.index("Metrics by diagnosis") < page.index("ROC curve")


def test_the_page_is_one_file_without_external_resources(evaluate: Evaluate, rows: list[Row]):
    _, page = evaluate(rows)

    assert page.count("<svg") == 3
    assert "<script" not in page and "<link" not in page
    assert not re.search(r"(src|href)=\"(?!#)", page)


def test_small_subgroups_are_marked_and_missing_attributes_are_stated(evaluate: Evaluate, rows: list[Row]):
    report, page = evaluate(rows)

    ages = report["subgroups"]["age"]
    assert [(group["name"], group["n"]) for group in ages] == [
        ("under 30", 6),
        ("45 to 59", 5),
        ("not recorded", 5),
    ]
    assert all(group["few"] for group in ages)
    assert "Not recorded for any of these photos: differences by skin type are unknown." in page


def test_photos_with_a_diagnosis_unknown_to_the_checkpoint_are_counted_apart(
    evaluate: Evaluate, rows: list[Row], capsys: pytest.CaptureFixture[str]
):
    strange = [
        replace(rows[0], image="a.jpg", label="Melanoma"),
        replace(rows[1], image="b.jpg", label=""),
        replace(rows[2], image="c.jpg", label="Wart"),
        replace(rows[3], image="gone.jpg"),
    ]

    report, page = evaluate([*rows, *strange])

    assert report["n"] == 16
    assert report["left_out"] == {
        "Melanoma: not among the checkpoint's diagnoses": 1,
        "no diagnosis given": 1,
        "unknown diagnosis 'Wart'": 1,
        "the photo cannot be read": 1,
    }
    assert "1 photos left out: Melanoma" in page
    assert "1 photos left out: Melanoma" in capsys.readouterr().out


def test_photos_of_one_risk_group_give_a_report_that_states_undefined_metrics(
    evaluate: Evaluate, rows: list[Row]
):
    report, page = evaluate([row for row in rows if row.label in KNOWN[:2]])

    assert report["roc"] is None
    assert report["metrics"]["risk"]["auroc"]["value"] is None
    assert "There is no ROC curve: all photos here are benign." in page
    assert "No photo here shows Atypical Melanocytic Proliferation, Atypical Spitz Tumor" in page


def test_one_photo_alone_gives_a_report(evaluate: Evaluate, rows: list[Row]):
    report, _ = evaluate(rows[:1])

    assert report["n"] == 1


def test_the_side_of_a_split_is_taken_and_its_fingerprint_tells_whether_it_was_seen(
    evaluate: Evaluate, rows: list[Row], checkpoint: Path, tmp_path: Path
):
    split = split_rows(rows, val_fraction=0.25, seed=0)
    write_split(split, tmp_path / "split.parquet")
    meta = read_meta(checkpoint).model_copy(update={"data_fingerprint": split.fingerprint})
    own = tmp_path / "own"
    own.mkdir()
    (own / "weights.safetensors").write_bytes((checkpoint / "weights.safetensors").read_bytes())
    (own / "meta.json").write_text(meta.model_dump_json())

    plain, _ = evaluate(rows, "--split", str(tmp_path / "split.parquet"))
    main([str(own), str(tmp_path / "manifest.parquet"), "--split", str(tmp_path / "split.parquet"), "--out",
          str(tmp_path / "out")])  # fmt: skip
    held_out = json.loads((tmp_path / "out" / "report.json").read_text())

    assert plain["n"] == held_out["n"] == len(split.val) and plain["side"] == "val"
    assert "Unknown whether" in plain["notices"][0]
    assert "was not trained on these photos" in held_out["notices"][0]


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (["Melanoma"] * 4, [], "none of the 4 photos has a diagnosis of checkpoint lesion-random"),
        (["Nevus"] * 4, ["--side", "val"], "name the split with --split"),
        (["Nevus"] * 4, ["--split", "nowhere.parquet"], "nowhere.parquet"),
    ],
)
def test_what_cannot_be_evaluated_is_rejected_in_one_line(
    checkpoint: Path,
    rows: list[Row],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    labels: list[str],
    options: list[str],
    message: str,
):
    some = [replace(row, label=label) for row, label in zip(rows, labels, strict=False)]
    write_manifest(some, tmp_path / "manifest.parquet")

    status = main([str(checkpoint), str(tmp_path / "manifest.parquet"), *options])

    printed = capsys.readouterr().err
    assert status == 1
    assert message in printed and printed.count("\n") == 1


def stop(*_: object, **__: object) -> None:
    """Stands for Ctrl-C."""
    raise KeyboardInterrupt


def test_ctrl_c_ends_with_130_and_one_line(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("train.evaluate.read_manifest", stop)

    assert main([str(checkpoint), "manifest.parquet"]) == 130
    printed = capsys.readouterr().err
    assert printed.startswith("skinserve evaluate: stopped") and printed.count("\n") == 1


@pytest.fixture
def followed(tmp_path: Path) -> list[str]:
    """Arguments to evaluate a progress network on four people, one with a soft label."""
    improvements = {"anna": 1.0, "ben": 1.0, "carl": 0.8, "dora": 0.5}
    rows = [
        Row(image=f"/p/{person}{day}.jpg", label="", person=person, improvement=improvement)
        for person, improvement in improvements.items()
        for day in range(2)
    ]
    faces = np.random.default_rng(0).integers(0, 256, (len(rows), 80 * 80 * 3), dtype=np.uint8)
    records = [
        {"person": row.person, "image": row.image, "face": face.tobytes(), "problem": ""}
        for row, face in zip(rows, faces, strict=True)
    ]
    write_part(pa.Table.from_pylist(records, schema=SCHEMA), str(tmp_path / "faces"), size_px=80)
    write_manifest(rows, tmp_path / "manifest.parquet")
    return [
        str(write_progress(tmp_path / "checkpoint")),
        str(tmp_path / "manifest.parquet"),
        f"--faces={tmp_path / 'faces'}",
        f"--out={tmp_path / 'out'}",
    ]


def test_followed_people_of_one_verdict_give_a_report_that_says_so(followed: list[str], tmp_path: Path):
    assert main(followed) == 0

    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert (report["n"], report["num_without_verdict"]) == (3, 1)
    assert "1 series left out: their label is between 0.25 and 0.75." in page
    assert "All series here have one verdict" in page


def test_a_damaged_part_of_the_faces_is_rejected_in_one_line(
    followed: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "faces" / "part-0.parquet").write_bytes(b"PAR1")

    assert main(followed) == 1
    printed = capsys.readouterr().err
    assert "is damaged or not a part of faces" in printed and printed.count("\n") == 1
