"""Photos as they are sent, through the real server: formats, poor photos, capture times, turned faces."""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import ExifTags, Image

from models.checkpoint import read_meta
from models.lesion.engine_loader import load_lesion_engine
from models.lesion.gate import gate_of
from models.lesion.localizer import Localizer
from models.lesion.preparation import prepare_lesion
from models.limits import PHOTO_FORMATS
from samples.lesion import draw_lesion
from serve.lesion.schemas import LesionAnswer
from serve.progress.schemas import ProgressAnswer
from serve.schemas import Models
from tests.conftest import StartServer
from tests.e2e.own_server import own_server
from tests.e2e.test_server import check_error, files
from tests.lesion_pictures import BLUE, SKIN, spots
from tests.photo_files import photo_file
from tests.random_checkpoints import random_gate, write_lesion
from tests.serve.fakes import jpeg_of

pytestmark = [pytest.mark.server]


def test_photos_of_all_formats_are_read_alone_and_in_a_batch(http: httpx.Client):
    picture = draw_lesion(seed=4).convert("RGB")
    photos = [photo_file(picture, format, quality=95) for format in PHOTO_FORMATS]

    alone = [http.post("/v1/lesion", content=photo) for photo in photos]
    batch = http.post("/v1/lesion/batch", files=files(*photos))

    probabilities = [
        LesionAnswer.model_validate_json(answer.content).malignant_probability for answer in alone
    ]
    assert probabilities == pytest.approx([probabilities[1]] * len(photos), abs=0.05)  # 1: PNG, lossless
    assert all("result" in json.loads(line) for line in batch.text.splitlines())


def test_photos_that_are_not_usable_are_inconclusive_alone_and_in_a_batch(http: httpx.Client, lesion: bytes):
    black, white, skin, clear = (0, 0, 0, 255), (255, 255, 255, 255), (214, 170, 148, 255), (0, 0, 0, 0)
    expected = {
        png(skin, (1, 1)): ["too_small"],
        png(skin, (8000, 10)): ["too_small"],
        png(black): ["too_dark"],
        png(white): ["overexposed"],
        png(clear): ["overexposed"],
        png(skin): ["no_lesion"],
    }

    alone = [http.post("/v1/lesion?explain=true", content=photo) for photo in expected]
    batch = http.post("/v1/lesion/batch", files=files(*expected, lesion))

    lines = sorted(map(json.loads, batch.text.splitlines()), key=lambda line: line["index"])
    in_batch = [LesionAnswer.model_validate(line["result"]) for line in lines]
    model = in_batch[-1].model
    assert in_batch[-1].usable and {answer.status_code for answer in alone} == {200}
    for one, other, codes in zip(alone, in_batch[:-1], expected.values(), strict=True):
        answer = LesionAnswer.model_validate_json(one.content)
        assert answer == other and answer.model == model
        assert (answer.verdict, answer.usable) == ("inconclusive", False)
        assert [reason.code for reason in answer.reasons] == codes


def png(colour: tuple[int, int, int, int], size: tuple[int, int] = (300, 200)) -> bytes:
    file = io.BytesIO()
    Image.new("RGBA", size, colour).save(file, "PNG")
    return file.getvalue()


def test_recorded_times_order_a_series_and_missing_ones_are_named(http: httpx.Client, faces: list[bytes]):
    times = ("2026/05/01 10:00:00", "2026-03-01T10:00:00", "2026:04:01 10:00:00.5+02:00")
    dated = [with_time(face, time) for face, time in zip(faces, times, strict=True)]

    def send(*photos: bytes) -> ProgressAnswer:
        return ProgressAnswer.model_validate_json(http.post("/v1/progress", files=files(*photos)).content)

    known, mixed = send(*dated), send(*dated[:2], faces[2])

    assert (known.order, [photo.index for photo in known.photos]) == ("exif", [1, 2, 0])
    assert known.reasons == []
    assert (mixed.order, [reason.code for reason in mixed.reasons]) == ("upload", ["times_missing"])
    assert "photo 3 records no capture time, and photo 2 was taken before photo 1" in mixed.reasons[0].message


def with_time(photo: bytes, time: str) -> bytes:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = time
    file = io.BytesIO()
    Image.open(io.BytesIO(photo)).save(file, "JPEG", quality=92, exif=exif)
    return file.getvalue()


def test_faces_on_their_side_and_upside_down_are_found(http: httpx.Client, faces: list[bytes]):
    turns = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)
    turned = [
        jpeg_of(Image.open(io.BytesIO(face)).transpose(turn)) for face, turn in zip(faces, turns, strict=True)
    ]

    answers = [http.post("/v1/progress", files=files(*photos)).json() for photos in (faces, turned)]

    boxes = [[photo["face"]["box"] for photo in answer["photos"]] for answer in answers]
    for upright, lying, turn in zip(*boxes, turns, strict=True):
        side_px = Image.open(io.BytesIO(faces[0])).width
        left, top = {
            Image.Transpose.ROTATE_90: (upright["top"], side_px - upright["right"]),
            Image.Transpose.ROTATE_180: (side_px - upright["right"], side_px - upright["bottom"]),
            Image.Transpose.ROTATE_270: (side_px - upright["bottom"], upright["left"]),
        }[turn]
        assert (lying["left"], lying["top"]) == pytest.approx((left, top), abs=0.1 * side_px)
    assert answers[1]["improved_probability"] == pytest.approx(answers[0]["improved_probability"], abs=0.2)


# --- gate, localizer and three-way verdict, on a server of their own ---

SPOT = (190, 60, 230, 90)
"""Off centre in a photo of 320 x 240 pixels."""
CASES = {"benign": SPOT, "inconclusive": (30, 20, 150, 100), "malignant": (120, 150, 140, 180)}
"""A lesion for each verdict; the names are given by probability, which is random."""


@dataclass
class Gated:
    """A server with a gate, and a photo for each verdict."""

    http: httpx.Client
    photos: dict[str, bytes]


@pytest.fixture(scope="module")
def gated(
    start_server: StartServer, server_config: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gated]:
    """Start a server with random weights, a drawn-colour localizer, and thresholds between three photos."""
    folder = tmp_path_factory.mktemp("gated")
    checkpoint = write_lesion(folder / "lesion", scope_head=True, gate=random_gate())
    photos = sorted(map(spots, CASES.values()), key=lambda photo: probability_of(checkpoint, photo))
    low, middle, high = (probability_of(checkpoint, photo) for photo in photos)
    thresholds = {"benign": (low + middle) / 2, "malignant": (middle + high) / 2}

    def change(api: dict[str, Any], page: dict[str, Any]) -> None:
        api["lesion"] |= {"checkpoints": [str(checkpoint)], "thresholds": {"lesion-random": thresholds}}

    with (
        own_server(start_server, server_config, folder, change) as server,
        httpx.Client(base_url=server.url, timeout=90, trust_env=False) as client,
    ):
        yield Gated(http=client, photos=dict(zip(CASES, photos, strict=True)))


def probability_of(checkpoint: Path, photo: bytes) -> float:
    meta = read_meta(checkpoint)
    gate = gate_of(meta)
    assert gate is not None
    prepared = prepare_lesion(photo, localizer=Localizer(checkpoint, gate), side_px=meta.input_px)
    return float(load_lesion_engine(checkpoint, engine="pytorch")(prepared.image_HWC[None]).malignant_B[0])


@pytest.mark.slow
def test_a_drawn_lesion_is_found_and_gets_each_of_three_verdicts(gated: Gated):
    url = "/v1/lesion?explain=true"
    answers = {
        verdict: LesionAnswer.model_validate_json(gated.http.post(url, content=photo).content)
        for verdict, photo in gated.photos.items()
    }

    for verdict, answer in answers.items():
        assert answer.usable and answer.verdict == verdict
        assert answer.lesion_box is not None and answer.crop_box is not None
        lesion = next(spot for spot in CASES.values() if spots(spot) == gated.photos[verdict])
        assert answer.lesion_box == pytest.approx(lesion, abs=6)
        left, top, right, bottom = answer.crop_box
        assert left <= lesion[0] and top <= lesion[1] and right >= lesion[2] and bottom >= lesion[3]
        assert right - left == bottom - top and answer.heatmap_png is not None
    near = [reason.code for answer in answers.values() for reason in answer.reasons]
    assert near == ["near_threshold"] and answers["inconclusive"].diagnosis is None
    assert [answer.risk_level for answer in answers.values()] == ["low", "medium", "high"]
    assert answers["benign"].benign_threshold < answers["malignant"].threshold


@pytest.mark.slow
def test_pictures_without_a_lesion_are_not_usable_alone_and_in_a_batch(gated: Gated):
    expected = {
        spots(colour=BLUE): "not_skin",
        png((0, 0, 0, 255)): "too_dark",
        spots(): "no_lesion",
        png((*SKIN, 255)): "no_lesion",
        spots((60, 60, 63, 63), size=(128, 128)): "lesion_too_small",
    }

    alone = [gated.http.post("/v1/lesion", content=photo) for photo in expected]
    batch = gated.http.post("/v1/lesion/batch", files=files(*expected)).text

    lines = {line["index"]: line["result"] for line in map(json.loads, batch.splitlines())}
    for index, (response, code) in enumerate(zip(alone, expected.values(), strict=True)):
        answer = LesionAnswer.model_validate_json(response.content)
        assert answer == LesionAnswer.model_validate(lines[index])
        assert (answer.usable, answer.verdict, answer.risk_level) == (False, "inconclusive", None)
        assert [reason.code for reason in answer.reasons] == [code]


@pytest.mark.slow
def test_the_larger_of_two_lesions_is_classified_and_a_box_chooses_the_other(gated: Gated):
    other = (60, 160, 84, 178)
    photo = spots(SPOT, other)

    found = LesionAnswer.model_validate_json(gated.http.post("/v1/lesion", content=photo).content)
    query = {"box": ",".join(map(str, other))}
    chosen = LesionAnswer.model_validate_json(
        gated.http.post("/v1/lesion", params=query, content=photo).content
    )
    outside = gated.http.post("/v1/lesion?box=0,0,400,100", content=photo)
    malformed = gated.http.post("/v1/lesion?box=left", content=photo)

    assert found.lesion_box == pytest.approx(SPOT, abs=6)
    assert "several_lesions" in [reason.code for reason in found.reasons]
    assert chosen.usable and chosen.lesion_box == other
    assert chosen.malignant_probability != found.malignant_probability
    assert "0, 0, 400, 100 does not fit the photo of 320 x 240 pixels" in check_error(
        outside, "invalid_request"
    )
    assert "must be four numbers" in check_error(malformed, "invalid_request")


@pytest.mark.slow
def test_gate_and_thresholds_in_effect_are_listed(gated: Gated):
    models = Models.model_validate_json(gated.http.get("/v1/models").content).models
    answer = LesionAnswer.model_validate_json(
        gated.http.post("/v1/lesion", content=gated.photos["benign"]).content
    )

    by_kind = {model.kind: model for model in models}
    gate, thresholds = by_kind["lesion"].gate, by_kind["lesion"].thresholds
    assert by_kind["progress"].gate is None
    assert gate is not None and gate.false_rejections["drawn"].value == 0.02
    assert (thresholds["benign"], thresholds["malignant"]) == (answer.benign_threshold, answer.threshold)
