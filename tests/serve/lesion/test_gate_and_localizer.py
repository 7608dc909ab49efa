"""Photos through the gateway with a gate and the localizer of drawn pictures; the network is a fake."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import ExifTags, Image

from models.checkpoint import CheckpointMeta, read_meta
from models.limits import PHOTO_FORMATS, PhotoFormat
from serve.lesion.schemas import LesionAnswer, PixelBox
from serve.lesion.verdict import LesionThresholds
from tests.lesion_pictures import BLUE, spots
from tests.photo_files import photo_file
from tests.random_checkpoints import random_gate, write_lesion
from tests.serve.fakes import FakeModels, error_of, fake_app, uploads

INPUT_PX = 64
SPOT = (190, 60, 230, 90)
"""Off centre in a photo of 320 x 240 pixels."""
THRESHOLDS = {"malignant": 0.6, "benign": 0.3, "name_diagnosis": 0.1}
THREE_WAY = LesionThresholds(benign=0.3, malignant=0.6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    gate = random_gate(min_scope=0.5)
    folder = tmp_path_factory.mktemp("gated")
    return write_lesion(folder, thresholds=THRESHOLDS, scope_head=True, gate=gate)


@pytest.fixture
def models() -> FakeModels:
    return FakeModels(scope=0.9, thresholds=THREE_WAY)


@pytest.fixture
def client(folder: Path, models: FakeModels) -> TestClient:
    return gated_client(models, folder)


def gated_client(models: FakeModels, folder: Path, meta: CheckpointMeta | None = None) -> TestClient:
    meta = meta or read_meta(folder)
    return TestClient(fake_app(models, meta, lesion={"checkpoints": [str(folder)]}))


def send(client: TestClient, photo: bytes, query: str = "") -> LesionAnswer:
    response = client.post(f"/v1/lesion{query}", content=photo)
    assert response.status_code == 200, response.text
    return LesionAnswer.model_validate_json(response.content)


def codes_of(answer: LesionAnswer) -> list[str]:
    return [reason.code for reason in answer.reasons]


def overlap(box: PixelBox | None, other: tuple[float, float, float, float]) -> float:
    """Intersection over union."""
    assert box is not None

    def area(left: float, top: float, right: float, bottom: float) -> float:
        return max(0, right - left) * max(0, bottom - top)

    both = area(*map(max, box[:2], other[:2]), *map(min, box[2:], other[2:]))
    return both / (area(*box) + area(*other) - both)


def test_the_network_reads_a_square_around_the_lesion(client: TestClient, models: FakeModels):
    answer = send(client, spots(SPOT), "?explain=true")

    assert (answer.verdict, answer.usable, answer.risk_level, codes_of(answer)) == ("benign", True, "low", [])
    assert overlap(answer.lesion_box, SPOT) > 0.7
    assert answer.crop_box is not None and answer.heatmap_png is not None
    left, top, right, bottom = answer.crop_box
    assert right - left == bottom - top == pytest.approx(2.4 * 40, rel=0.15)
    assert left < SPOT[0] and top < SPOT[1] and right > SPOT[2] and bottom > SPOT[3]
    dark_HW = models.photos[0].image_HWC.mean(-1) < 100
    assert dark_HW.shape == (INPUT_PX, INPUT_PX)
    assert dark_HW[INPUT_PX // 2, INPUT_PX // 2] and not dark_HW[:4].any()
    assert 0.05 < dark_HW.mean() < 0.25, "the lesion is large in the crop, 1% of the photo"


@pytest.mark.parametrize(
    ("photo", "code", "has_box"),
    [
        (spots(colour=BLUE), "not_skin", False),
        (spots(), "no_lesion", False),
        (spots((60, 60, 63, 63), size=(128, 128)), "lesion_too_small", True),
        (spots(colour=(8, 5, 4)), "too_dark", True),
    ],
)
def test_a_photo_that_the_localizer_or_the_pixels_reject_is_not_given_to_the_network(
    client: TestClient, models: FakeModels, photo: bytes, code: str, has_box: bool
):
    answer = send(client, photo, "?explain=true")

    assert (answer.usable, answer.verdict, codes_of(answer)) == (False, "inconclusive", [code])
    assert (answer.crop_box, answer.lesion_box is not None, models.num_calls) == (None, has_box, 0)


@pytest.mark.parametrize(
    ("photo", "code"), [(spots(SPOT), "unfamiliar"), (spots(SPOT, colour=BLUE), "not_skin")]
)
@pytest.mark.parametrize("scope", [0.49, float("nan")])
def test_a_photo_that_the_network_does_not_know_is_not_usable_whatever_its_probability(
    client: TestClient, models: FakeModels, photo: bytes, code: str, scope: float
):
    models.scope, models.malignant = scope, 0.01

    answer = send(client, photo, "?explain=true")

    assert (answer.usable, codes_of(answer), models.num_calls) == (False, [code], 1)
    assert answer.crop_box is not None and answer.lesion_box is not None


def test_between_the_thresholds_the_answer_is_inconclusive_with_a_map_and_all_diagnoses(
    client: TestClient, models: FakeModels
):
    models.malignant = 0.45

    answer = send(client, spots(SPOT), "?explain=true")

    assert (answer.verdict, answer.usable, answer.risk_level) == ("inconclusive", True, "medium")
    assert (codes_of(answer), answer.diagnosis) == (["near_threshold"], None)
    assert len(answer.diagnoses) == 2 and answer.heatmap_png is not None


def test_several_lesions_and_blur_weaken_the_answer(client: TestClient, models: FakeModels, tmp_path: Path):
    gate = random_gate(min_sharpness=0.99)
    blurred = gated_client(models, write_lesion(tmp_path, thresholds=THRESHOLDS, gate=gate))

    two = send(client, spots(SPOT, (60, 160, 100, 190)))
    unsharp = send(blurred, spots(SPOT))

    assert (two.usable, two.verdict, codes_of(two)) == (True, "benign", ["several_lesions"])
    assert (unsharp.usable, unsharp.verdict, codes_of(unsharp)) == (True, "benign", ["blurred"])


def test_a_box_of_the_request_replaces_that_of_the_localizer(client: TestClient, models: FakeModels):
    other = (60, 160, 100, 190)
    photo = spots(SPOT, other)

    found = send(client, photo)
    marked = send(client, photo, "?box=60,160,100,190")
    bare = send(client, spots(), "?box=100.5,100,140,130.25")

    assert overlap(found.lesion_box, SPOT) > 0.7
    assert marked.lesion_box == other and codes_of(marked) == []
    assert marked.crop_box is not None and overlap(marked.crop_box, (32, 127, 128, 223)) > 0.95
    assert bare.usable and bare.lesion_box == (100, 100, 140, 131), "a person knows where the lesion is"
    dark = [photo.image_HWC[INPUT_PX // 2, INPUT_PX // 2].mean() < 100 for photo in models.photos]
    assert dark == [True, True, False]


@pytest.mark.parametrize(
    ("box", "match"),
    [
        ("1,2,3", "query parameter box is '1,2,3': must be four numbers left,top,right,bottom"),
        ("a,b,c,d", "must be four numbers"),
        ("nan,0,10,10", "must be four numbers"),
        ("-1,0,10,10", "must be four numbers"),
        ("1e2,0,200,10", "must be four numbers"),
        ("", "must be four numbers"),
        ("0,0,321,100", "the box 0, 0, 321, 100 does not fit the photo of 320 x 240 pixels; send"),
        ("10,10,10,20", "does not fit the photo"),
        ("319.999999,0,320,240", "does not fit the photo"),
        ("0,0,0.000001,0.000001", "right at least 1 above left"),
        ("20,10,10,20", "does not fit the photo"),
        ("0,200,100,100", "does not fit the photo"),
    ],
)
def test_a_malformed_box_or_one_outside_the_photo_is_rejected(
    client: TestClient, models: FakeModels, box: str, match: str
):
    status, code, message = error_of(client.post("/v1/lesion", params={"box": box}, content=spots(SPOT)))

    assert (status, code, models.num_calls) == (422, "invalid_request", 0)
    assert match in message


def test_a_checkpoint_without_a_gate_reads_the_central_square_or_the_given_box(
    models: FakeModels, tmp_path: Path
):
    old = gated_client(models, write_lesion(tmp_path))

    plain, marked = send(old, spots(colour=BLUE)), send(old, spots(SPOT), "?box=190,60,230,90")

    assert (plain.usable, plain.lesion_box, plain.crop_box) == (True, None, (40, 0, 280, 240))
    assert marked.lesion_box == SPOT and marked.crop_box != plain.crop_box


@pytest.mark.parametrize("format", PHOTO_FORMATS, ids=lambda format: format.name)
def test_the_lesion_is_found_in_photos_of_all_formats(client: TestClient, format: PhotoFormat):
    picture = Image.open(io.BytesIO(spots(SPOT)))

    answer = send(client, photo_file(picture, format))

    assert answer.usable and overlap(answer.lesion_box, SPOT) > 0.7


def test_boxes_are_in_pixels_of_the_upright_photo(client: TestClient):
    lying = Image.open(io.BytesIO(spots(SPOT))).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # turned by 90 degrees to be upright
    file = io.BytesIO()
    lying.save(file, "JPEG", quality=95, exif=exif)

    found = send(client, file.getvalue())
    marked = send(client, file.getvalue(), "?box=190,60,230,90")

    assert overlap(found.lesion_box, SPOT) > 0.7
    assert marked.lesion_box == SPOT and overlap(marked.crop_box, found.crop_box or SPOT) > 0.7


def test_a_batch_gives_the_answers_of_single_photos_and_takes_no_box(client: TestClient):
    photos = [spots(SPOT), spots(), spots(SPOT, colour=BLUE), spots(SPOT, (60, 160, 100, 190))]

    lines = client.post("/v1/lesion/batch?explain=true", files=uploads(*photos)).text.splitlines()
    boxed = client.post("/v1/lesion/batch?box=1,1,9,9", files=uploads(*photos))

    found = {line["index"]: LesionAnswer.model_validate(line["result"]) for line in map(json.loads, lines)}
    assert [found[index] for index in range(4)] == [send(client, photo, "?explain=true") for photo in photos]
    assert error_of(boxed)[:2] == (422, "invalid_request")


def test_the_gateway_runs_the_localizer_without_pytorch(folder: Path):
    code = """
import asyncio
import sys
from types import SimpleNamespace
from models.images import PhotoLimits
from serve.config import GatewayConfig
from serve.gateway import create_app
from serve.lesion.api import LesionService
from serve.lesion.config import LesionConfig
from serve.runtime.model_catalog import ModelCatalog, read_entry

folder = sys.argv[1]
context = SimpleNamespace(
    config=GatewayConfig(),
    photo_limits=PhotoLimits(),
    decode_pool=None,
    replicas={"lesion": SimpleNamespace(call=print, is_remote=True)},
    traffic=None,
)
catalog = ModelCatalog("lesion", [read_entry(folder, "lesion")], route="/v1/lesion")
service = LesionService(LesionConfig(checkpoints=(folder,)), catalog, context)
model = asyncio.run(service._models.get(catalog.default))
prepared = model.prepare(sys.stdin.buffer.read())
print(prepared.lesion_box is not None, "onnxruntime" in sys.modules, "torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], input=spots(SPOT), capture_output=True, timeout=120
    )

    assert done.stdout.decode().split() == ["True", "True", "False"], done.stderr.decode()
