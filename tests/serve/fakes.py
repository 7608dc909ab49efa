"""Fake replicas without networks, and photos drawn in memory, for the tests of the gateway."""

import asyncio
import io
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from fastapi import FastAPI
from PIL import Image
from ray.serve import Deployment

from models.checkpoint import CheckpointMeta
from models.progress.verdict import VerdictThresholds
from serve.config import GatewayConfig, TaskConfig
from serve.gateway import Services, create_app
from serve.lesion.api import LesionService
from serve.lesion.config import LesionConfig
from serve.lesion.messages import LesionPhoto, LesionReport
from serve.lesion.schemas import DiagnosisScore
from serve.lesion.verdict import LesionThresholds
from serve.progress.api import ProgressService
from serve.progress.config import ProgressConfig
from serve.progress.messages import FaceReport, FaceSeries, ProgressReport
from serve.runtime.errors import STATUS
from serve.runtime.model_cache import LoadFailed, ModelRuntime
from serve.runtime.model_catalog import CatalogEntry, ModelCatalog
from serve.schemas import Group, ModelName
from tests.random_checkpoints import random_meta

INPUT_PX = 32
THRESHOLDS = LesionThresholds(benign=0.5, malignant=0.5)
CROP_PX = 8
_LESION_META = random_meta("lesion", name="lesion-fake", version="1", architecture={}, input_px=INPUT_PX)
_PROGRESS_META = random_meta("progress", name="progress-fake", version="1", input_px=CROP_PX)


def score(name: str, group: Group, probability: float) -> DiagnosisScore:
    return DiagnosisScore(name=name, group=group, probability=probability)


def lesion_report(
    malignant: float = 0.2,
    *scores: DiagnosisScore,
    explain: bool = False,
    scope: float | None = None,
    thresholds: LesionThresholds = THRESHOLDS,
) -> LesionReport:
    return LesionReport(
        model=ModelName(name="lesion-fake", version="1"),
        malignant_probability=malignant,
        thresholds=thresholds,
        verdict=thresholds.verdict(malignant),
        scope=scope,
        naming_threshold=0.1,
        diagnoses=scores or (score("Nevus", "benign", 0.7), score("Melanoma", "malignant", 0.3)),
        grad_cam_HW=np.array([[0.0, 1.0], [0.5, 0.0]]) if explain else None,
    )


@dataclass
class FakeModels:
    """Answer at once. A green photo has no face; ``delay_s`` and ``failure`` apply to every call.

    The first calls raise ``failures``, one each.
    """

    delay_s: float = 0
    malignant: float = 0.2
    scope: float | None = None
    thresholds: LesionThresholds = THRESHOLDS
    failure: Exception | None = None
    failures: list[Exception] = field(default_factory=list)
    most_at_once: int = 0
    dead: set[str] = field(default_factory=set)
    num_calls: int = 0
    num_cancelled: int = 0
    descriptor_of_red: dict[int, np.ndarray] = field(default_factory=dict)
    """Face descriptors by the red of a photo, to 10 grey levels; empty: no face descriptor."""
    called: list[str] = field(default_factory=list)
    """Addresses of the models of all calls; empty for the default model."""
    preloaded: list[str] = field(default_factory=list)
    """Addresses of the models that were loaded before their first request."""
    load_failure: str | None = None
    """Why models other than the default one cannot be loaded."""
    calls: list[tuple[str, Any]] = field(default_factory=list)
    """The same, with each argument."""
    failures_of: dict[str, Exception] = field(default_factory=dict)
    """Raised by every call for a model, by the end of its address."""
    photos: list[LesionPhoto] = field(default_factory=list)
    series: list[FaceSeries] = field(default_factory=list)
    _at_once: int = 0

    @property
    def replicas(self) -> dict[str, Any]:
        """In place of the gateway's ``ReplicaClient`` of each deployment."""
        return {name: FakeReplicas(self, name) for name in ("lesion", "face", "progress")}

    async def classify_lesions(self, photos: Sequence[LesionPhoto]) -> list[LesionReport]:
        self.photos += photos
        await self.work()
        return [
            lesion_report(self.malignant, explain=photo.explain, scope=self.scope, thresholds=self.thresholds)
            for photo in photos
        ]

    async def detect_face(self, image_HWC: np.ndarray, crop_px: int) -> FaceReport | None:
        await self.work()
        red, green, _ = image_HWC.reshape(-1, 3).mean(0)
        if green > red:
            return None
        rows, columns = image_HWC.shape[:2]
        crop = np.full((crop_px, crop_px, 3), int(red), np.uint8)
        return FaceReport(
            box=(columns / 4, rows / 4, columns / 2, rows * 2),
            confidence=0.99,
            crop_HWC=crop,
            descriptor_D=self.descriptor_of_red.get(10 * round(red / 10)),
            same_person_distance=0.6,
        )

    async def classify_series(self, series: FaceSeries) -> ProgressReport:
        self.series.append(series)
        await self.work()
        steps = len(series.present_T)
        return ProgressReport(
            model=ModelName(name="progress-fake", version="1"),
            thresholds=VerdictThresholds(improved=0.5),
            improved_T=tuple((step + 1) / (steps + 1) for step in range(steps)),
        )

    async def check_health(self, name: str) -> None:
        await self.work()
        if name in self.dead:
            raise RuntimeError("no answer")

    async def work(self) -> None:
        self.num_calls += 1
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            await asyncio.sleep(self.delay_s)
        except asyncio.CancelledError:
            self.num_cancelled += 1
            raise
        finally:
            self._at_once -= 1
        if self.failures:
            raise self.failures.pop(0)
        if self.failure is not None:
            raise self.failure


@dataclass
class FakeReplicas:
    """The replicas of one deployment, in place of a ``ReplicaClient``."""

    models: FakeModels
    name: str
    is_remote: ClassVar[bool] = True

    async def broadcast(self, method: str, *arguments: Any, timeout_s: float) -> list[Any]:
        self.models.preloaded += arguments
        if self.models.load_failure is not None:
            return [LoadFailed(reason=self.models.load_failure)]
        return [ModelRuntime(device="cpu", engine="fake")]

    async def call(self, method: str, *arguments: Any, model: str = "") -> Any:
        self.models.called.append(model)
        for end, failure in self.models.failures_of.items():
            if model.endswith(end):
                raise failure
        self.models.calls += [(model, argument) for argument in arguments]
        if method == "check_health":
            return await self.models.check_health(self.name)
        if method == "describe":
            await self.models.work()
            return {f"weights/{self.name}": ModelRuntime(device="cpu", engine="fake")}
        methods = {
            ("lesion", "classify"): self.models.classify_lesions,
            ("face", "detect"): self.models.detect_face,
            ("progress", "classify"): self.models.classify_series,
        }
        return await methods[self.name, method](*arguments)


def services(
    lesion: LesionConfig | None = None,
    progress: ProgressConfig | None = None,
    lesion_meta: CheckpointMeta = _LESION_META,
) -> Services:
    lesion, progress = lesion or LesionConfig(), progress or ProgressConfig()
    return {
        "lesion": partial(LesionService, lesion, catalog(lesion, lesion_meta)),
        "progress": partial(ProgressService, progress, catalog(progress, _PROGRESS_META)),
    }


def catalog(config: TaskConfig, meta: CheckpointMeta) -> ModelCatalog:
    """The models of the settings: the first with ``meta``, the others with the name of their folder."""
    metas = [meta, *(meta.model_copy(update={"name": Path(one).name}) for one in config.checkpoints[1:])]
    entries = [
        CatalogEntry(address=address, meta=one, model_card="")
        for address, one in zip(config.checkpoints, metas, strict=True)
    ]
    return ModelCatalog(meta.kind, entries, route=f"/v1/{meta.kind}")


def fake_app(
    models: FakeModels, lesion_meta: CheckpointMeta = _LESION_META, /, **sections: dict[str, Any]
) -> FastAPI:
    """The API on fake models, with settings by section: ``gateway``, ``lesion``, ``progress``."""
    gateway = GatewayConfig.model_validate(sections.get("gateway", {}))
    lesion = LesionConfig.model_validate(sections.get("lesion", {}))
    progress = ProgressConfig.model_validate(sections.get("progress", {}))
    return create_app(gateway, services(lesion, progress, lesion_meta), models.replicas)


def error_of(response: Any) -> tuple[int, str, str]:
    """Status, code and message of an error response, after a check of its form."""
    error = response.json()["error"]
    assert set(response.json()) == {"error"} and set(error) - {"photos"} == {"code", "message"}
    assert response.headers["x-request-id"]
    assert response.status_code == STATUS[error["code"]]
    return response.status_code, error["code"], error["message"]


def picture(
    kind: str = "JPEG",
    *,
    size: tuple[int, int] = (64, 48),
    colour: tuple[int, int, int] = (200, 120, 100),
    taken: str | None = None,
) -> bytes:
    """A dark square on one colour, as an image file; ``taken`` is its EXIF capture time."""
    exif = Image.Exif()
    if taken is not None:
        exif.get_ifd(0x8769)[0x9003] = taken
    image = Image.new("RGB", size, colour)
    image.paste((0, 0, 0), (size[0] // 2, size[1] // 2, size[0] // 2 + 8, size[1] // 2 + 8))
    file = io.BytesIO()
    image.save(file, kind, exif=exif)
    return file.getvalue()


def png_bomb(width: int, height: int) -> bytes:
    """A small PNG whose header promises many pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def photo_without_face() -> bytes:
    """A photo in which the fake detector finds no face."""
    return picture(colour=(20, 200, 20))


def uploads(*photos: bytes, field_name: str = "files") -> list[tuple[str, tuple[str, bytes, str]]]:
    """Multipart files for httpx."""
    return [(field_name, (f"photo-{index}.jpg", photo, "image/jpeg")) for index, photo in enumerate(photos)]


def jpeg_of(picture: Image.Image) -> bytes:
    """A drawn picture as a file."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=92)
    return file.getvalue()


def instance_of(deployment: Deployment, *arguments: object) -> Any:
    """An instance of the class of a deployment, without Ray."""
    assert not isinstance(deployment.func_or_class, str)
    return deployment.func_or_class(*arguments)
