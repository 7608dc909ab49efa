"""BentoML with adaptive batching: ``bentoml serve bench.baselines.lesion_bentoml:Lesion``."""

from pathlib import Path
from typing import Any

import bentoml  # pyright: ignore[reportMissingImports]

from bench.baselines.classifier import MAX_BATCH_SIZE, WORKERS, Classifier


@bentoml.service(workers=WORKERS, traffic={"timeout": 300})
class Lesion:
    """Classify the uploaded photo of each request."""

    def __init__(self) -> None:
        self.classifier = Classifier()

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH_SIZE, max_latency_ms=60_000)
    def predict(self, file: list[Path]) -> list[dict[str, Any]]:
        """Classify one batch."""
        return self.classifier([self.classifier.prepare(path.read_bytes()) for path in file])
