"""Run the whole lesion pipeline as served: decoding, localizer, crop, gate, network.

Axes: B photo of a batch, K diagnosis, N picture.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

import numpy as np

from models.images import PhotoError
from models.lesion.engine import LesionEngine
from models.lesion.gate import LesionGate, find_problems_after, find_problems_before
from models.lesion.localizer import Localizer
from models.lesion.preparation import PreparedLesion, prepare_lesion
from models.photo_quality import Problem

BATCH_SIZE = 16

Verdict = Literal["benign", "malignant", "inconclusive"]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One encoded picture with its ground truth."""

    name: str
    source: str
    group: str
    """Lesion, patient or person; the bootstrap resamples these."""
    data: bytes
    """In one of ``models.limits.PHOTO_FORMATS``."""
    malignant: bool | None
    """None for a picture without a lesion."""
    diagnosis: str = ""
    """Empty if it is unknown."""
    degradation: str = ""
    """Empty for the unchanged picture."""


@dataclass(frozen=True, kw_only=True)
class PipelineOutput:
    """Ground truth and outputs of one picture."""

    picture: Picture
    """Without ``data``."""
    prepared: PreparedLesion
    """Without pixels."""
    malignant_probability: float
    diagnosis_K: np.ndarray
    scope: float | None

    def problems(self, gate: LesionGate | None) -> list[Problem]:
        """Return why the picture is not usable; [] if it is."""
        if gate is None:
            return self.prepared.problems
        return find_problems_before(self.prepared, gate) or find_problems_after(
            self.prepared, gate, self.scope
        )

    def verdict(self, gate: LesionGate | None, *, benign: float, malignant: float) -> Verdict:
        """Return the verdict as served.

        Args:
            gate: of the checkpoint.
            benign: threshold below which a usable picture is benign.
            malignant: threshold from which a usable picture is malignant.
        """
        if self.problems(gate):
            return "inconclusive"
        if self.malignant_probability >= malignant:
            return "malignant"
        return "benign" if self.malignant_probability < benign else "inconclusive"


def run_pipeline(
    engine: LesionEngine,
    localizer: Localizer | None,
    pictures: Iterable[Picture],
    *,
    num_threads: int = 2,
    unreadable: list[str] | None = None,
) -> Iterator[PipelineOutput]:
    """Yield the outputs of all pictures, in order; the network reads every picture, usable or not.

    Args:
        engine: of the checkpoint.
        localizer: of the checkpoint; None: the network reads the central squares.
        pictures: encoded.
        num_threads: that decode and localize.
        unreadable: receives the names of unreadable pictures, which are left out; None: they raise.

    Raises:
        PhotoError: a picture cannot be read.
    """
    stream = iter(pictures)
    with ThreadPoolExecutor(num_threads) as pool:
        while some := list(islice(stream, BATCH_SIZE)):
            found = pool.map(lambda one: _prepare(engine, localizer, one), some)
            readable: list[tuple[Picture, PreparedLesion]] = []
            for picture, one in zip(some, found, strict=True):
                if not isinstance(one, PhotoError):
                    readable.append((picture, one))
                elif unreadable is None:
                    raise one
                else:
                    unreadable.append(picture.name)
            if not readable:
                continue
            output = engine(np.stack([one.image_HWC for _, one in readable]))
            for index, (picture, one) in enumerate(readable):
                yield PipelineOutput(
                    picture=replace(picture, data=b""),
                    prepared=replace(one, image_HWC=np.empty((0, 0, 3), np.uint8)),
                    malignant_probability=float(output.malignant_B[index]),
                    diagnosis_K=output.diagnosis_BK[index],
                    scope=None if output.scope_B is None else float(output.scope_B[index]),
                )


def unchanged(outputs: Sequence[PipelineOutput]) -> list[PipelineOutput]:
    """Return the outputs of lesion photos without a degradation."""
    return [one for one in outputs if one.picture.malignant is not None and not one.picture.degradation]


def _prepare(
    engine: LesionEngine, localizer: Localizer | None, picture: Picture
) -> PreparedLesion | PhotoError:
    try:
        return prepare_lesion(picture.data, localizer=localizer, side_px=engine.meta.input_px)
    except PhotoError as error:
        return error
