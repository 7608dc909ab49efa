"""One lesion model of a replica.

Axes: B photo of a batch, H row, W column, C colour, K diagnosis.
"""

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from models.checkpoint import local_checkpoint
from models.diagnoses import GROUPS
from models.lesion.gate import gate_of
from serve.lesion.config import LesionConfig
from serve.lesion.messages import LesionPhoto, LesionReport
from serve.lesion.schemas import DiagnosisScore
from serve.runtime.batching import BatchThreads, DynamicBatcher
from serve.runtime.loaded_model import threshold_of
from serve.runtime.model_cache import CachedModel, ModelRuntime
from serve.runtime.threads import load_in_throwaway_thread
from serve.schemas import ModelName

if TYPE_CHECKING:
    from models.lesion.engine import LesionEngine


def load_lesion_model(
    config: LesionConfig, threads: BatchThreads, address: str
) -> CachedModel[LesionPhoto, LesionReport]:
    """Load one checkpoint into an engine with a batcher.

    Raises:
        CheckpointError: it is missing, damaged, or no lesion network.
    """
    # Imported here, so that processes without a replica import neither ONNX Runtime nor PyTorch.
    from models.lesion.engine_loader import load_lesion_engine

    folder = local_checkpoint(address)
    engine = load_in_throwaway_thread(
        partial(
            load_lesion_engine,
            folder,
            device=config.device,
            num_threads=config.num_threads,
            engine=config.engine,
            max_batch_size=config.max_batch_size,
        )
    )
    network = LesionNetwork(engine, config)
    return CachedModel(
        meta=engine.meta,
        runtime=ModelRuntime(
            device=engine.device, engine=engine.runtime, cuda_graphs=engine.uses_cuda_graphs
        ),
        batcher=DynamicBatcher(
            network.classify,
            engine.ping,
            max_size=config.max_batch_size,
            threads=threads,
            network="lesion",
            exclusive=not engine.supports_concurrent_calls,
        ),
    )


class LesionNetwork:
    """Run one engine and report probabilities, verdict and diagnoses.

    Raises:
        CheckpointError: a threshold is missing, or the gate belongs to another network.
    """

    def __init__(self, engine: "LesionEngine", config: LesionConfig) -> None:
        gate_of(engine.meta)  # raises if the gate belongs to another network
        self._engine = engine
        self._meta = engine.meta
        self._thresholds = config.thresholds_of(engine.meta)
        self._naming_threshold = threshold_of(engine.meta, "name_diagnosis")
        self._model = ModelName(name=engine.meta.name, version=engine.meta.version)

    def classify(self, photos: list[LesionPhoto]) -> list[LesionReport]:
        """Classify a batch of photos."""
        image_BHWC = np.stack([photo.image_HWC for photo in photos])
        output = self._engine(image_BHWC, explain=[i for i, photo in enumerate(photos) if photo.explain])
        scope_B = np.ones(len(photos)) if output.scope_B is None else output.scope_B
        if not all(np.isfinite(one).all() for one in (output.malignant_B, output.diagnosis_BK, scope_B)):
            raise ValueError("the network returned a probability that is not finite; load it again")
        reports: list[LesionReport] = []
        for index, malignant in enumerate(output.malignant_B.tolist()):
            verdict = self._thresholds.verdict(malignant)
            explained = "benign" if verdict == "benign" else "malignant"
            grad_cam_RHW = output.grad_cam_RHW.get(index)
            reports.append(
                LesionReport(
                    model=self._model,
                    malignant_probability=malignant,
                    thresholds=self._thresholds,
                    verdict=verdict,
                    scope=None if output.scope_B is None else float(output.scope_B[index]),
                    naming_threshold=self._naming_threshold,
                    diagnoses=self._ranked(output.diagnosis_BK[index]),
                    grad_cam_HW=None if grad_cam_RHW is None else grad_cam_RHW[GROUPS.index(explained)],
                )
            )
        return reports

    def _ranked(self, diagnosis_K: np.ndarray) -> tuple[DiagnosisScore, ...]:
        labels, groups = self._meta.labels, self._meta.groups
        order = np.argsort(-diagnosis_K * np.array(self._meta.label_weights()), kind="stable")
        return tuple(
            DiagnosisScore(
                name=labels[k], group=groups[labels[k]], probability=min(1.0, float(diagnosis_K[k]))
            )
            for k in order.tolist()
        )
