"""The commands of docs/training.md, one after the other, with everything but the photo cache in a bucket."""

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models import storage
from models.checkpoint import read_meta
from models.engine import load_lesion_engine, load_progress_engine
from tests.local_bucket import new_bucket, s3_server
from train.drawn_spots import draw_spots
from ui.examples import draw_series

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


@pytest.mark.cluster
def test_from_notes_and_photos_in_a_bucket_to_a_progress_checkpoint(bucket: str, tmp_path: Path):
    source, manifest, faces = f"{bucket}/followup", f"{bucket}/followup.parquet", f"{bucket}/faces"
    storage.upload_folder(draw_followup(tmp_path / "followup"), source)
    (tmp_path / "hand.csv").write_text("person,label\n" + "".join(f"{p},{VERDICTS[p % 2]}\n" for p in PEOPLE))
    settings = ["--num-epochs", "2", "--batch-size", "4", "--val-fraction", "0.34"]
    places = ["--manifest", manifest, "--faces", faces, "--run", f"{bucket}/runs/followup"]

    labelled = told("train.followup", source, manifest, "--labeller", "vader")
    agreed = told("train.labels", "audit", manifest, str(tmp_path / "hand.csv"))
    cut = told("train.cut", manifest, faces)
    trained = told("train.launch", "followup", "--workers", "0", *settings, *places)

    assert f"of {len(PEOPLE)} people" in labelled
    assert "kappa" in agreed
    assert f"{2 * len(PEOPLE)} photos done now" in cut
    assert "checkpoint in" in trained
    load_progress_engine(storage.fetch_folder(f"{bucket}/runs/followup/checkpoint", tmp_path)).ping()


PEOPLE = range(1, 9)
VERDICTS = ("worsened", "improved")


def draw_followup(folder: Path) -> Path:
    """SkinCredible's layout, with two drawn photos of each person and a note that says how it went."""
    for name in ("followup_data", "images"):
        (folder / name).mkdir(parents=True)
    (folder / "dr_msg_stats.csv").write_text("user_id\n" + "".join(f"{person}\n" for person in PEOPLE))
    for person in PEOPLE:
        improving = VERDICTS[person % 2] == "improved"
        entries: list[dict[str, object]] = []
        for day, photo in enumerate(draw_series(improving=improving, num_photos=2, seed=person), start=1):
            room = np.random.default_rng(person).integers(40, 220, (4, 4, 3)).astype(np.uint8)
            scene = Image.fromarray(room).resize((900, 900))  # or drawn people look too alike to be several
            scene.paste(photo.resize((560, 560)), (40 * person, 340 - 40 * person))
            scene.save(folder / "images" / f"{person}-{day}.jpg")
            when = f"2019-03-0{day}T08:00:00Z"
            entries.append(
                {"entry_type": "Annotation", "image_path": f"{person}-{day}.jpg", "created_at": when}
            )
        note = "Much better, it improved." if improving else "Worse, it deteriorated."
        entries.append({"entry_type": "DrMessage", "dr_note": note, "created_at": "2019-03-09T10:00:00Z"})
        (folder / f"followup_data/user_{person:012d}.json").write_text(json.dumps(entries))
    return folder
