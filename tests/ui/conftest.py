"""A small API with the responses that a test sets."""

import base64
import contextlib
import io
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from PIL import Image, ImageOps
from playwright.sync_api import Browser, Page, ViewportSize, expect
from starlette.datastructures import UploadFile
from starlette.types import ASGIApp

import ui.site
from models.lesion.metrics import DiagnosisMetrics, LesionMetrics, RiskMetrics
from models.metrics import Metric
from models.progress.metrics import ProgressMetrics, VerdictMetrics
from serve.lesion.schemas import DiagnosisScore, LesionAnswer, PixelBox
from serve.lesion.verdict import RISK_LEVELS, LesionThresholds
from serve.progress.photo_order import read_times, sort_photos
from serve.progress.schemas import Box, FoundFace, PhotoReport, ProgressAnswer, VerdictThresholds
from serve.runtime.translated_errors import ErrorResponse
from serve.schemas import (
    ErrorCode,
    ErrorDetail,
    Group,
    LoadedModel,
    ModelName,
    Models,
    Reason,
    ReasonCode,
    RejectedPhoto,
)
from tests.chromium import chromium as chromium
from ui.client import ApiClient
from ui.config import UiConfig

DESK: ViewportSize = {"width": 1280, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}
TOUCH: dict[str, Any] = {"has_touch": True, "is_mobile": True, "device_scale_factor": 2}
"""Options of a browser context of ``PHONE``."""


def screens(fixture: str) -> pytest.MarkDecorator:
    """Run a test on a phone, and on a desktop as a slow test; the fixture gets the screen."""
    desk = pytest.param(DESK, id="desk", marks=pytest.mark.slow)
    return pytest.mark.parametrize(fixture, [desk, pytest.param(PHONE, id="phone")], indirect=True)


def screen_of(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the options of a browser context for the screen of a fixture; a desktop unless it has one."""
    screen: ViewportSize = getattr(request, "param", DESK)
    return {"viewport": screen, **(TOUCH if screen == PHONE else {})}


def check_width(page: Page) -> None:
    """Check that a page does not scroll sideways."""
    assert page.viewport_size is not None
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= page.viewport_size["width"], "it scrolls sideways"


on_every_screen = screens("page")
MAX_PHOTO_BYTES = 3_000_000
"""Of the page in browser tests."""
TIMEOUT_MS = 20_000
REQUEST_ID, RECEIPT = "case-7", "q0hXo2n8mIYd3Hn4b5a7Zg"

DIAGNOSES: tuple[tuple[str, Group, float], ...] = (
    ("Nevus", "benign", 0.62),
    ("Melanoma", "malignant", 0.16),
    ("Pigmented Benign Keratosis", "benign", 0.11),
    ("Basal Cell Carcinoma", "malignant", 0.05),
    ("Dermatofibroma", "benign", 0.03),
    ("Actinic Keratosis", "malignant", 0.02),
    ("Vascular Lesion", "benign", 0.004),
)


def lesion_answer(
    *,
    malignant: float = 0.12,
    benign_threshold: float = 0.35,
    named: bool = True,
    scores: tuple = DIAGNOSES,
    weaknesses: tuple[ReasonCode, ...] = (),
) -> LesionAnswer:
    verdict = LesionThresholds(benign=benign_threshold, malignant=0.35).verdict(malignant)
    diagnoses = [DiagnosisScore(name=name, group=group, probability=p) for name, group, p in scores]
    diagnosis = next((score for score in diagnoses if score.group == verdict), None) if named else None
    codes: tuple[ReasonCode, ...] = (
        ("near_threshold", *weaknesses) if verdict == "inconclusive" else weaknesses
    )
    return LesionAnswer(
        model=ModelName(name="lesion-reference", version="1"),
        usable=True,
        reasons=[Reason(code=code, message=f"found {code}; do something") for code in codes],
        verdict=verdict,
        malignant_probability=malignant,
        threshold=0.35,
        benign_threshold=benign_threshold,
        risk_level=RISK_LEVELS[verdict],
        diagnosis=diagnosis,
        diagnoses=diagnoses,
        lesion_box=(100, 50, 200, 150),
        crop_box=(30, 0, 270, 240),
        heatmap_png=grad_cam_png(),
    )


def not_usable_answer(*codes: ReasonCode, lesion_box: PixelBox | None = None) -> LesionAnswer:
    message = "the photo has 20 x 20 pixels, at least 32 x 32 are needed; send the original photo"
    return LesionAnswer(
        model=ModelName(name="lesion-reference", version="1"),
        usable=False,
        reasons=[Reason(code=code, message=message) for code in codes or ("too_small",)],
        malignant_probability=None,
        verdict="inconclusive",
        threshold=0.35,
        benign_threshold=0.35,
        risk_level=None,
        diagnosis=None,
        diagnoses=[],
        lesion_box=lesion_box,
        crop_box=None,
    )


def grad_cam_png() -> str:
    blue = Image.new("RGBA", (224, 224), (20, 60, 255, 0))
    center = ImageOps.invert(Image.radial_gradient("L")).resize((150, 150))
    blue.paste((20, 60, 255, 150), (50, 40), center)
    png = io.BytesIO()
    blue.save(png, "PNG")
    return base64.b64encode(png.getvalue()).decode()


def progress_answer(
    num_photos: int,
    *,
    improved: float = 0.83,
    without_face: tuple[int, ...] = (),
    thresholds: tuple[float, float | None] = (0.5, None),
) -> ProgressAnswer:
    faces = [index for index in range(num_photos) if index not in without_face]
    box = FoundFace(box=Box(left=110, top=90, right=370, bottom=420), confidence=0.998)
    photos = []
    for index in range(num_photos):
        rank = faces.index(index) if index in faces else None
        so_far = 0.5 + (improved - 0.5) * rank / (len(faces) - 1) if rank else None
        photos.append(
            PhotoReport(
                index=index,
                taken_at=None,
                face=box if rank is not None else None,
                improved_probability_so_far=so_far,
            )
        )
    return ProgressAnswer(
        model=ModelName(name="progress-reference", version="1"),
        verdict=VerdictThresholds(improved=thresholds[0], worsened=thresholds[1]).verdict(improved),
        improved_probability=improved,
        worsened_probability=1 - improved,
        improved_threshold=thresholds[0],
        worsened_threshold=thresholds[1],
        order="upload",
        photos=photos,
    )


def mixed_times_answer(num_photos: int) -> ProgressAnswer:
    """Answer of the API for photos of which only the second records its time."""
    answer = progress_answer(num_photos)
    taken_at = datetime(2026, 3, 9, 18, 30, tzinfo=timezone(timedelta(hours=2)))
    photos = list(answer.photos)
    photos[1] = photos[1].model_copy(update={"taken_at": taken_at})
    missing = Reason(code="times_missing", message="photo 1 records no capture time; send taken_at")
    return answer.model_copy(update={"photos": photos, "reasons": [missing]})


def loaded_models() -> Models:
    lesion = LoadedModel(
        kind="lesion",
        name="lesion-reference",
        version="1",
        default=True,
        sha256="5b1e" * 16,
        labels=[name for name, _, _ in DIAGNOSES],
        groups={name: group for name, group, _ in DIAGNOSES},
        input_px=96,
        thresholds={"malignant": 0.35, "name_diagnosis": 0.1},
        metrics=LesionMetrics(
            split="validation, grouped by lesion",
            n=1203,
            risk=RiskMetrics(
                balanced_accuracy=Metric(value=0.8488, low=0.8154, high=0.8809),
                sensitivity=Metric(value=0.8657, low=0.806, high=0.9179, n=134),
                specificity=Metric(),
                auroc=Metric(),
            ),
            diagnosis=DiagnosisMetrics(
                balanced_accuracy=Metric(value=0.47, low=0.43, high=0.51),
                recall={"Nevus": Metric(value=0.8123, n=612)},
                macro_auroc=Metric(value=0.8912, low=0.87, high=0.9),
            ),
        ),
        training_data="HAM10000, 5,984 dermoscopic photos",
        data_licence="CC BY-NC 4.0",
        device="cpu",
        engine="pytorch",
        cuda_graphs=None,
        model_card="# lesion-reference\n\nA **small** network.\n\n- trained on few photos\n",
    )
    progress = lesion.model_copy(
        update={
            "kind": "progress",
            "name": "progress-reference",
            "labels": ["worsened", "improved"],
            "groups": {},
            "thresholds": {"improved": 0.663, "worsened": 0.663},
            "metrics": ProgressMetrics(
                split="series drawn on people not seen in training",
                n=600,
                num_people=6,
                balanced_accuracy=Metric(value=0.957, low=0.9369, high=0.9717),
                balanced_accuracy_over_people=Metric(value=0.957, low=0.92, high=0.98),
                recall={"worsened": Metric(n=0)},
                auroc=Metric(),
                balanced_accuracy_by_photos={},
                balanced_accuracy_by_person={"p01": 0.9, "p03": 0.8},
                verdicts={
                    "cross_fitted": VerdictMetrics(
                        called={
                            "undrawn": Metric(value=0.0944, low=0.0178, high=0.1801, n=360),
                            "altered_blur": Metric(value=0.0917, n=240),
                        },
                        called_by_person={},
                        found={},
                        opposite={},
                    )
                },
            ),
        }
    )
    return Models(models=[lesion, progress])


@dataclass
class FakeApi:
    """Return the responses that a test sets and record the requests."""

    lesion: LesionAnswer = field(default_factory=lesion_answer)
    progress: ProgressAnswer | None = None
    error: Response | None = None
    photos: list[bytes] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    taken_at: list[str] = field(default_factory=list)
    num_models_requests: int = 0
    models_status: int = 200
    models: Models = field(default_factory=loaded_models)
    feedback: dict[str, str] = field(default_factory=dict)
    """Fields of the stored feedback."""
    recorded: list[datetime | None] = field(default_factory=list)
    """Times that the photos of a series record."""
    rejected: list[bytes] = field(default_factory=list)
    """Photos of a series that cannot be read."""

    def fail(
        self, status: int, code: ErrorCode, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        self.error = _error(status, code, message, headers)

    def reset(self) -> None:
        """Return to the first answers."""
        vars(self).update(vars(FakeApi()))

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.post("/v1/lesion")
        async def lesion(request: Request) -> Response:
            await self._record(request, "file")
            if box := self.query.get("box"):
                edges = tuple(int(edge) for edge in box.split(","))
                return _json(self.lesion.model_copy(update={"lesion_box": edges}))
            return self.error or _json(self.lesion)

        @app.post("/v1/progress")
        async def progress(request: Request) -> Response:
            await self._record(request, "files")
            message = "it is truncated; send it again"
            rejected = [
                RejectedPhoto(index=index, code="unreadable_image", message=message)
                for index, photo in enumerate(self.photos)
                if photo in self.rejected
            ]
            if rejected:
                first = f"photo {rejected[0].index + 1}: {message}"
                detail = ErrorDetail(code="unreadable_image", message=first, photos=rejected)
                return ErrorResponse(detail, 400, {})
            return self.error or _json(self.progress or self._series_answer())

        @app.get("/v1/models")
        async def models() -> Response:
            self.num_models_requests += 1
            if self.models_status != 200:
                return Response(status_code=self.models_status)
            return self.error or _json(self.models)

        @app.post("/v1/feedback")
        async def add_feedback(request: Request) -> Response:
            if self.error:
                return self.error
            await self._record(request, "photo")
            async with request.form() as form:
                self.feedback = {name: text for name, text in form.items() if isinstance(text, str)}
            return JSONResponse({"receipt": RECEIPT, "photo_stored": bool(self.photos)}, 201)

        @app.delete("/v1/feedback/{receipt}")
        async def delete_feedback(receipt: str) -> Response:
            if receipt != RECEIPT or not self.feedback:
                return _error(404, "not_found", "there is no feedback with this receipt")
            self.feedback = {}
            return Response(status_code=204)

        return app

    def _series_answer(self) -> ProgressAnswer:
        """Return an answer with the photos in the order that the API gives them."""
        answer = progress_answer(len(self.photos))
        recorded = [*self.recorded, *[None] * len(self.photos)][: len(self.photos)]
        order, positions, times = sort_photos(read_times(self.taken_at, len(self.photos)), recorded)
        photos = [
            photo.model_copy(update={"index": index, "taken_at": times[index]})
            for photo, index in zip(answer.photos, positions, strict=True)
        ]
        return answer.model_copy(update={"order": order, "photos": photos})

    async def _record(self, request: Request, field_name: str) -> None:
        async with request.form() as form:
            parts = [part for part in form.getlist(field_name) if isinstance(part, UploadFile)]
            self.photos = [await part.read() for part in parts]
            self.names = [part.filename for part in parts]
            self.taken_at = [str(text) for text in form.getlist("taken_at")]
        self.headers = dict(request.headers)
        self.query = dict(request.query_params)


def _error(status: int, code: ErrorCode, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return ErrorResponse(ErrorDetail(code=code, message=message), status, headers or {})


def _json(body: LesionAnswer | ProgressAnswer | Models) -> Response:
    return Response(
        body.model_dump_json(), headers={"X-Request-ID": REQUEST_ID}, media_type="application/json"
    )


@pytest.fixture
def fake_api() -> FakeApi:
    return FakeApi()


@pytest.fixture
async def client(fake_api: FakeApi) -> AsyncIterator[ApiClient]:
    client = ApiClient("http://api", transport=httpx.ASGITransport(fake_api.app()))
    yield client
    await client.close()


@pytest.fixture
def small_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the drawings of the page: drawing them takes seconds."""
    patch_examples(monkeypatch)


def patch_examples(patch: pytest.MonkeyPatch) -> None:
    picture = Image.new("RGB", (64, 48), "tan")
    patch.setattr(ui.site, "_DAYS", 2)
    patch.setattr(ui.site, "draw_lesion", lambda seed: picture)
    patch.setattr(ui.site, "draw_series", lambda improving, num_photos, seed: [picture] * num_photos)


@pytest.fixture(scope="module")
def api() -> FakeApi:
    """Return the API behind ``page_url``."""
    return FakeApi()


@pytest.fixture(scope="module")
def page_url(api: FakeApi) -> Iterator[str]:
    """Serve the fake API and, at ``/ui/``, the page from a thread."""
    client = ApiClient("http://api", transport=httpx.ASGITransport(api.app()))
    with pytest.MonkeyPatch.context() as patch:
        patch_examples(patch)
        site = api.app()
        site.mount("/ui", ui.site.build_site(UiConfig(max_photo_bytes=MAX_PHOTO_BYTES), client))
        with served(site) as address:
            yield f"{address}/ui/"


@contextlib.contextmanager
def served(site: ASGIApp, port: int = 0) -> Iterator[str]:
    """Serve an application on 127.0.0.1 while the context lasts, on a free port if 0."""
    server = uvicorn.Server(uvicorn.Config(site, port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.05)
        assert thread.is_alive()
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def page(request: pytest.FixtureRequest, chromium: Browser, page_url: str, api: FakeApi) -> Iterator[Page]:
    """Open the page on a desktop or, with ``on_every_screen``, a phone too; nothing scrolls sideways."""
    api.reset()
    context = chromium.new_context(**screen_of(request), reduced_motion="reduce", service_workers="block")
    context.set_default_timeout(TIMEOUT_MS)
    expect.set_options(timeout=TIMEOUT_MS)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "console",
        lambda message: problems.append(message.text) if "Content Security" in message.text else None,
    )
    page.goto(page_url)
    expect(page.locator("#panel-lesion .photo-input")).to_be_visible()
    yield page
    check_width(page)
    assert problems == []
    context.close()


@pytest.fixture
def make_lesion_answer() -> Callable[..., LesionAnswer]:
    return lesion_answer


@pytest.fixture
def make_not_usable_answer() -> Callable[..., LesionAnswer]:
    return not_usable_answer


@pytest.fixture
def make_progress_answer() -> Callable[..., ProgressAnswer]:
    return progress_answer


@pytest.fixture
def make_mixed_times_answer() -> Callable[..., ProgressAnswer]:
    return mixed_times_answer


@pytest.fixture
def models() -> list[LoadedModel]:
    return loaded_models().models
