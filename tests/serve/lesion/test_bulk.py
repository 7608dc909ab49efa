"""Rows of bulk scoring are the answers of the API; both run the same random network with a gate."""

import pickle
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from models.checkpoint import META, CheckpointError, read_meta
from models.images import PhotoError
from models.limits import PHOTO_FORMATS
from serve.bulk.row_files import encode_rows
from serve.bulk.scoring import score_photos
from serve.bulk.source import Photo, Source
from serve.lesion.bulk import LesionScorer, _network, lesion_scorer
from serve.lesion.messages import LesionPhoto, LesionReport
from serve.lesion.schemas import LesionAnswer
from tests.lesion_pictures import BLUE, spots
from tests.photo_files import photo_file
from tests.random_checkpoints import random_gate, write_lesion, write_progress
from tests.serve.fakes import FakeModels, fake_app

SPOT = (190, 60, 230, 90)
PHOTOS = {
    "spot.jpg": spots(SPOT),
    "two spots.jpg": spots(SPOT, (40, 60, 75, 88)),
    "large.jpg": spots((500, 300, 900, 700), size=(1600, 1200)),
    "no lesion.jpg": spots(),
    "blue.jpg": spots(colour=BLUE),
    "tiny.jpg": spots((60, 60, 63, 63), size=(128, 128)),
    "dark.jpg": spots(colour=(8, 5, 4)),
    "bad.jpg": b"\xff\xd8\xff and then nothing",
    "page.jpg": b"<!DOCTYPE html><html></html>",
}


class RealNetwork(FakeModels):
    """In place of the replicas: the network of a scorer."""

    def __init__(self, scorer: LesionScorer) -> None:
        super().__init__()
        self._network = _network(scorer)

    async def classify_lesions(self, photos: Sequence[LesionPhoto]) -> list[LesionReport]:
        return self._network.classify(list(photos))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    thresholds = {"malignant": 0.6, "benign": 0.3, "name_diagnosis": 0.1}
    return write_lesion(tmp_path_factory.mktemp("lesion"), thresholds=thresholds, gate=random_gate())


@pytest.fixture(scope="module")
def scorer(checkpoint: Path) -> LesionScorer:
    return lesion_scorer(str(checkpoint), engine="pytorch", top_k=3)


def test_every_row_is_the_answer_of_the_api(scorer: LesionScorer, checkpoint: Path, tmp_path: Path):
    for name, content in PHOTOS.items():
        (tmp_path / name).write_bytes(content)
    app = fake_app(RealNetwork(scorer), read_meta(checkpoint), lesion={"checkpoints": [str(checkpoint)]})

    photos = [Photo(name, len(content)) for name, content in PHOTOS.items()]
    rows = score_photos(photos, Source(address=str(tmp_path)), scorer)
    table = pq.read_table(pa.BufferReader(encode_rows(rows, scorer, "parquet")))

    codes = set[str]()
    for row in table.to_pylist():
        response = TestClient(app).post("/v1/lesion?top_k=3", content=PHOTOS[row["name"]])
        if response.status_code != 200:
            error = response.json()["error"]
            assert (row["error_code"], row["error_message"]) == (error["code"], error["message"])
            assert row["verdict"] is row["usable"] is row["reasons"] is None
            codes.add(error["code"])
            continue
        answer = LesionAnswer.model_validate_json(response.content)
        assert row["error_code"] is None
        assert row["model"] == f"{answer.model.name}@{answer.model.version}"
        assert row["malignant_probability"] == pytest.approx(answer.malignant_probability, abs=1e-6)
        for name in ("verdict", "usable", "threshold", "benign_threshold", "risk_level"):
            assert row[name] == getattr(answer, name)
        for name in ("lesion_box", "crop_box"):
            assert row[name] == (None if getattr(answer, name) is None else list(getattr(answer, name)))
        assert [one["code"] for one in row["reasons"]] == [one.code for one in answer.reasons]
        diagnosis = answer.diagnosis
        assert row["diagnosis"] == (diagnosis.name if diagnosis else None)
        assert row["diagnosis_group"] == (diagnosis.group if diagnosis else None)
        assert [one["name"] for one in row["diagnoses"]] == [one.name for one in answer.diagnoses]
        codes.update(one.code for one in answer.reasons)
    assert {"several_lesions", "no_lesion", "not_skin", "lesion_too_small", "too_dark"} <= codes
    assert {"unreadable_image", "unsupported_type"} <= codes


@pytest.mark.parametrize("format", PHOTO_FORMATS, ids=lambda format: format.name)
def test_photos_of_every_format_are_prepared_without_the_network(scorer: LesionScorer, format):
    picture = Image.new("RGB", (96, 80), (214, 170, 148))
    picture.paste((90, 50, 40), (40, 30, 60, 50))

    prepared = pickle.loads(pickle.dumps(scorer.prepare(photo_file(picture, format))))

    assert not isinstance(prepared, dict) and prepared.image_HWC.shape == (64, 64, 3)


def test_a_photo_of_64_megapixels_is_reduced_and_one_above_the_limit_rejected(scorer: LesionScorer):
    picture = Image.new("RGB", (9248, 6936), (214, 170, 148))
    picture.paste((90, 50, 40), (4000, 3000, 5200, 4000))

    prepared = scorer.prepare(photo_file(picture, PHOTO_FORMATS[0]))

    assert not isinstance(prepared, dict) and (prepared.width_px, prepared.height_px) == (9248, 6936)
    image = Image.new("L", (9400, 7000))
    with pytest.raises(PhotoError, match=r"65\.8 megapixels"):
        scorer.prepare(photo_file(image, PHOTO_FORMATS[0]))


def test_other_checkpoints_are_rejected(tmp_path: Path, checkpoint: Path):
    with pytest.raises(CheckpointError, match="is no checkpoint"):
        lesion_scorer(str(tmp_path))
    with pytest.raises(CheckpointError, match="is a progress checkpoint; bulk scoring needs a lesion"):
        lesion_scorer(str(write_progress(tmp_path / "progress")))
    damaged = write_lesion(tmp_path / "damaged")
    (damaged / META).write_bytes((checkpoint / META).read_bytes())
    with pytest.raises(CheckpointError, match="fetch"):
        lesion_scorer(str(damaged))
