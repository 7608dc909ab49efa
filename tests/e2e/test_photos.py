"""Photos as they are sent, through the real server: formats, poor photos, capture times, turned faces."""

import io
import json

import httpx
import pytest
from PIL import ExifTags, Image

from models.limits import PHOTO_FORMATS
from samples.lesion import draw_lesion
from serve.lesion.schemas import LesionAnswer
from serve.progress.schemas import ProgressAnswer
from tests.e2e.test_server import files
from tests.photo_files import photo_file
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
