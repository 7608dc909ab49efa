"""The commands of docs/training.md, one after the other, with everything but the photo cache in a bucket."""

import csv
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from models import storage
from models.checkpoint import read_meta
from models.engine import load_lesion_engine
from tests.local_bucket import new_bucket, s3_server
from train.drawn_spots import draw_spots

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A bucket with photos and a CSV of them."""
    folder = tmp_path_factory.mktemp("clinic")
    rows = draw_spots(folder / "photos", folder / "unused.parquet", num_photos=60)
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "label", "group"])
        writer.writerows((Path(row.image).name, row.label, row.lesion) for row in rows)
    with s3_server(), new_bucket("clinic") as address:
        storage.upload_folder(folder, f"{address}/data")
        yield address


def told(module: str, *arguments: str) -> str:
    """Run one command as a user does; it must succeed, and the guide must name it."""
    assert f"python -m {module} " in GUIDE
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_from_a_csv_in_a_bucket_to_a_checkpoint_that_is_served_and_judged(bucket: str, tmp_path: Path):
    manifest, run = f"{bucket}/manifest.parquet", f"{bucket}/runs/spots"
    settings = ["--input-px", "32", "--start-px", "32", "--num-epochs", "2", "--batch-size", "16"]
    places = ["--manifest", manifest, "--run", run, "--cache", str(tmp_path / "cache")]

    ingested = told(
        "train.ingest", f"{bucket}/data/labels.csv", manifest, "--photos", f"{bucket}/data/photos"
    )
    audited = told("train.audit", manifest)
    trained = told("train.launch", "lesion", "--workers", "0", "--val-fraction", "0.25", *settings, *places)
    released = told("train.release", run, "--out", str(tmp_path / "again"))
    judged = told(
        "train.evaluate",
        f"{run}/checkpoint",
        manifest,
        "--split",
        f"{run}/split.parquet",
        "--out",
        f"{bucket}/report",
    )

    assert "60" in ingested and "60" in audited
    assert f"checkpoint in {run}/checkpoint" in trained
    assert str(tmp_path / "again") in released
    assert "did not learn from these photos" in judged
    assert b"lesion-reference" in storage.read_bytes(f"{bucket}/report/report.html")
    folder = storage.fetch_folder(f"{run}/checkpoint", tmp_path)
    load_lesion_engine(folder).ping()
    assert read_meta(folder).weights_sha256 == read_meta(tmp_path / "again").weights_sha256
