"""Stages without networks, and photos drawn in memory, for the tests of the gateway."""

import asyncio
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image
from ray.serve import Deployment

from serve.messages import FaceReport, LesionReport, ProgressReport, Series, Spot
from serve.runtime.replica_client import StageName
from serve.schemas import DiagnosisScore, LoadedModel, ModelName, Risk

LESION_PX = 32
CROP_PX = 8


def score(name: str, group: Risk, probability: float) -> DiagnosisScore:
    return DiagnosisScore(name=name, group=group, probability=probability)


def lesion_report(malignant: float = 0.2, *scores: DiagnosisScore, explain: bool = False) -> LesionReport:
    return LesionReport(
        model=ModelName(name="lesion-fake", version="1"),
        malignant_probability=malignant,
        threshold=0.5,
        naming_threshold=0.1,
        diagnoses=scores or (score("Nevus", "benign", 0.7), score("Melanoma", "malignant", 0.3)),
        heat_HW=np.array([[0.0, 1.0], [0.5, 0.0]]) if explain else None,
    )


@dataclass
class FakeStages:
    """Answers at once. A photo that is green has no face; ``delay_s`` and ``failure`` apply to every call.

    The first calls raise ``failures``, one each.
    """

    delay_s: float = 0
    failure: Exception | None = None
    failures: list[Exception] = field(default_factory=list)
    most_at_once: int = 0
    dead: set[StageName] = field(default_factory=set)
    num_calls: int = 0
    num_cancelled: int = 0
    spots: list[Spot] = field(default_factory=list)
    series: list[Series] = field(default_factory=list)
    _at_once: int = 0

    async def classify_lesion(self, spot: Spot) -> LesionReport:
        self.spots.append(spot)
        await self._work()
        return lesion_report(explain=spot.explain)

    async def find_face(self, image_HWC: np.ndarray) -> FaceReport | None:
        await self._work()
        red, green, _ = image_HWC.reshape(-1, 3).mean(0)
        if green > red:
            return None
        rows, columns = image_HWC.shape[:2]
        crop = np.full((CROP_PX, CROP_PX, 3), int(red), np.uint8)
        return FaceReport(box=(columns / 4, rows / 4, columns / 2, rows * 2), confidence=0.99, crop_HWC=crop)

    async def classify_progress(self, series: Series) -> ProgressReport:
        self.series.append(series)
        await self._work()
        steps = len(series.present_T)
        return ProgressReport(
            model=ModelName(name="progress-fake", version="1"),
            threshold=0.5,
            improved_T=tuple((step + 1) / (steps + 1) for step in range(steps)),
        )

    async def describe(self) -> Sequence[LoadedModel]:
        await self._work()
        return []

    async def ping(self, stage: StageName) -> None:
        await self._work()
        if stage in self.dead:
            raise RuntimeError("no answer")

    async def _work(self) -> None:
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


def picture(
    kind: str = "JPEG",
    *,
    size: tuple[int, int] = (64, 48),
    colour: tuple[int, int, int] = (200, 120, 100),
    taken: str | None = None,
) -> bytes:
    """An image file of one colour; ``taken`` is its EXIF capture time."""
    exif = Image.Exif()
    if taken is not None:
        exif.get_ifd(0x8769)[0x9003] = taken
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, kind, exif=exif)
    return file.getvalue()


def no_face() -> bytes:
    """A photo in which the fake finds no face."""
    return picture(colour=(20, 200, 20))


def uploads(*photos: bytes, field_name: str = "files") -> list[tuple[str, tuple[str, bytes, str]]]:
    """Multipart files for httpx."""
    return [(field_name, (f"photo-{index}.jpg", photo, "image/jpeg")) for index, photo in enumerate(photos)]


def jpeg_of(picture: Image.Image) -> bytes:
    """A drawn picture as a file."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=92)
    return file.getvalue()


def plain(deployment: Deployment, *arguments: object) -> Any:
    """The object inside a deployment, called plainly and without Ray."""
    assert not isinstance(deployment.func_or_class, str)
    return deployment.func_or_class(*arguments)
