"""Everything between the bytes of a lesion photo and its probabilities, in one process.

Upper bound and baselines run it, so that they do the same work as ``POST /v1/lesion``: decode, check the
pixels, find the lesion, crop, classify, and apply the gate. The environment of the baselines has no Ray.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models.lesion.engine_loader import load_lesion_engine
from models.lesion.gate import find_problems_after, find_problems_before, gate_of
from models.lesion.localizer import Localizer
from models.lesion.preparation import PreparedLesion, prepare_lesion
from models.lesion.runtimes import EngineName


class Pipeline:
    """Prepare and classify photos with a lesion checkpoint; axes: B photo, K diagnosis.

    Args:
        checkpoint: folder of a lesion network; without a gate the central square is classified.
        num_threads: of the engine.
        engine: as in the server's settings.
    """

    def __init__(self, checkpoint: Path, *, num_threads: int, engine: EngineName = "auto") -> None:
        self.engine = load_lesion_engine(checkpoint, num_threads=num_threads, engine=engine)
        self.meta = self.engine.meta
        self._gate = gate_of(self.meta)
        self._localizer = Localizer(checkpoint, self._gate) if self._gate else None
        self.engine.ping()

    def prepare(self, data: bytes) -> PreparedLesion:
        """Decode a photo, find its lesion and crop the square that the network reads.

        Raises:
            PhotoError: the photo cannot be decoded.
            ValueError: the gate rejects it; a measurement needs photos that the network classifies.
        """
        prepared = prepare_lesion(data, localizer=self._localizer, side_px=self.meta.input_px)
        if self._gate is not None and (problems := find_problems_before(prepared, self._gate)):
            raise ValueError(f"the gate rejects a photo of the measurement: {problems[0]}")
        return prepared

    def classify(self, prepared: Sequence[PreparedLesion]) -> tuple[np.ndarray, np.ndarray]:
        """Return the probabilities of malignant (B) and of each diagnosis (B, K)."""
        output = self.engine(np.stack([one.image_HWC for one in prepared]))
        if self._gate is not None:
            scopes = [None] * len(prepared) if output.scope_B is None else output.scope_B.tolist()
            for one, scope in zip(prepared, scopes, strict=True):
                find_problems_after(one, self._gate, scope)
        return output.malignant_B, output.diagnosis_BK
