"""``skinserve feedback``, and ``skinserve ingest`` on its export."""

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from cli.main import main
from models import storage
from tests.local_bucket import new_bucket, s3_server
from tests.serve.fakes import FakeModels, fake_app, picture
from tests.serve.feedback_fields import FIELDS, WITH_PHOTO
from train.data.manifest import read_manifest

DIAGNOSES = ("Nevus", "Melanoma", "Nevus", "Café-au-lait Macule")


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.slow)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Feedback of a server: four confirmed diagnoses with photos, and others."""
    if request.param == "folder":
        fill(str(tmp_path / "feedback"))
        yield str(tmp_path / "feedback")
        return
    with s3_server(), new_bucket("clinic") as bucket:
        fill(f"{bucket}/feedback")
        yield f"{bucket}/feedback"


def fill(store: str) -> None:
    client = TestClient(fake_app(FakeModels(), gateway={"feedback": store}))
    others = [
        WITH_PHOTO | {"confirmed_by": "not_confirmed", "correct": "yes"},
        WITH_PHOTO | {"diagnosis": "", "group": "malignant", "model_version": "5"},
        WITH_PHOTO | {"diagnosis": "", "text": '=cmd|"/c calc"!A1'},
    ]
    fields = [WITH_PHOTO | {"diagnosis": diagnosis} for diagnosis in DIAGNOSES] + others
    for number, one in enumerate(fields):
        photo = picture(colour=(20 * number, 120, 100), size=(64 + 8 * number, 48))
        answer = client.post("/v1/feedback", data=one, files={"photo": ("a.jpg", photo)})
        assert answer.status_code == 201, answer.text
    assert (
        client.post("/v1/feedback", files=[(key, (None, text)) for key, text in FIELDS.items()]).status_code
        == 201
    )


def export(store: str, out: Path, *options: str) -> int:
    return main(["feedback", "export", store, "--out", str(out), *options])


def test_the_export_is_ingested_with_the_same_labels(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "out"

    assert export(store, out) == 0
    printed = capsys.readouterr().out
    assert main(["ingest", str(out / "feedback.csv"), str(out / "manifest.parquet")]) == 0

    rows = read_manifest(out / "manifest.parquet")
    assert Counter(row.label for row in rows) == Counter(DIAGNOSES)
    assert len({row.image for row in rows}) == len(DIAGNOSES) == len(list((out / "photos").iterdir()))
    assert (
        "feedback.csv with 4 photos; left out: 2 without a diagnosis; 1 not confirmed; 1 without a photo"
        in printed
    )


def test_unconfirmed_diagnoses_are_exported_on_request(store: str, tmp_path: Path):
    assert export(store, tmp_path / "out", "--unconfirmed") == 0
    assert main(["ingest", str(tmp_path / "out"), str(tmp_path / "manifest.parquet")]) == 0

    with (tmp_path / "out" / "feedback.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert Counter(row["confirmed_by"] for row in rows) == {"histopathology": 4, "not_confirmed": 1}
    assert {(row["model"], row["verdict"], row["malignant_probability"]) for row in rows} == {
        ("lesion-reference@6", "benign", "0.14")
    }
    assert len(read_manifest(tmp_path / "manifest.parquet")) == 5


def test_list_counts_by_model_version_and_answer(store: str, capsys: pytest.CaptureFixture[str]):
    assert main(["feedback", "list", store]) == 0

    heading, old, new, total = capsys.readouterr().out.splitlines()
    assert heading.split() == [
        *("task", "model", "verdict", "right", "wrong", "unknown", "confirmed", "photos"),
    ]
    assert old.split() == ["lesion", "lesion-reference@5", "benign", "0", "1", "0", "1", "1"]
    assert new.split() == ["lesion", "lesion-reference@6", "benign", "1", "6", "0", "6", "6"]
    assert total == f"8 feedbacks in {store}"


def test_a_damaged_record_is_left_out_and_reported(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    storage.write_bytes(storage.join(store, "records/a.json"), b"{")

    assert export(store, tmp_path / "out") == 3
    assert main(["feedback", "list", store]) == 3

    output = capsys.readouterr()
    assert "1 damaged" in output.out and output.err.count("records/a.json is no feedback") == 2


def test_an_export_never_mixes_with_an_older_one(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()

    assert export(store, tmp_path / "out") == 1

    assert "is not empty; name a new folder" in capsys.readouterr().err


def test_a_store_without_a_usable_record_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert export(str(tmp_path / "nothing"), tmp_path / "out") == 1
    assert main(["feedback", "list", str(tmp_path / "nothing")]) == 0

    output = capsys.readouterr()
    assert "can be exported; left out: none" in output.err and "0 feedbacks" in output.out
    assert not (tmp_path / "out").exists()


def test_exported_files_are_private(tmp_path: Path):
    fill(str(tmp_path / "feedback"))

    export(str(tmp_path / "feedback"), tmp_path / "out")

    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(files) == 5 and {path.stat().st_mode & 0o777 for path in files} == {0o600}
