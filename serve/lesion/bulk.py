"""Bulk scoring of lesion photos: preparation, gate, network and answer as in ``POST /v1/lesion``."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from models.checkpoint import CheckpointError, local_checkpoint, verify_checkpoint
from models.lesion.gate import gate_of
from models.lesion.localizer import Localizer
from models.lesion.preparation import PreparedLesion, prepare_lesion
from models.lesion.runtimes import EngineName
from models.limits import DEFAULT_TOP_K
from serve.bulk.scorer import Row
from serve.lesion.answer_rules import AnswerRules
from serve.lesion.config import LesionConfig
from serve.lesion.messages import LesionPhoto
from serve.lesion.replica_model import LesionNetwork
from serve.lesion.schemas import LesionAnswer
from serve.schemas import ModelName

CPU_BATCH_SIZE, GPU_BATCH_SIZE = 8, 128

_REASON = pa.struct([("code", pa.string()), ("message", pa.string())])
_DIAGNOSIS = pa.struct([("name", pa.string()), ("group", pa.string()), ("probability", pa.float64())])
_BOX = pa.list_(pa.int32())
COLUMNS = (
    pa.field("model", pa.string()),
    pa.field("verdict", pa.string()),
    pa.field("usable", pa.bool_()),
    pa.field("reasons", pa.list_(_REASON)),
    pa.field("malignant_probability", pa.float64()),
    pa.field("threshold", pa.float64()),
    pa.field("benign_threshold", pa.float64()),
    pa.field("risk_level", pa.string()),
    pa.field("diagnosis", pa.string()),
    pa.field("diagnosis_group", pa.string()),
    pa.field("diagnosis_probability", pa.float64()),
    pa.field("diagnoses", pa.list_(_DIAGNOSIS)),
    pa.field("lesion_box", _BOX),
    pa.field("crop_box", _BOX),
)
"""The fields of ``LesionAnswer``, except for ``heatmap_png`` and ``disclaimer``."""


@dataclass(frozen=True, kw_only=True)
class LesionScorer:
    """Score photos by one lesion checkpoint.

    Args:
        checkpoint: absolute path or ``s3://`` address.
        model: ``name@version`` of the checkpoint.
        weights_sha256: of the checkpoint.
        device: torch device.
        engine: as in the server's settings.
        top_k: number of diagnoses in a row.
    """

    checkpoint: str
    model: str
    weights_sha256: str
    device: str = "cpu"
    engine: EngineName = "auto"
    top_k: int = DEFAULT_TOP_K

    outcome_column = "verdict"

    @property
    def batch_size(self) -> int:
        """Return the number of photos of one call to ``classify``."""
        return CPU_BATCH_SIZE if self.device == "cpu" else GPU_BATCH_SIZE

    @property
    def columns(self) -> Sequence[pa.Field]:
        """Return the columns of an answer."""
        return COLUMNS

    @property
    def description(self) -> Mapping[str, str | int]:
        """Return everything that decides about the rows."""
        return {
            "task": "lesion",
            "model": self.model,
            "weights_sha256": self.weights_sha256,
            "device": self.device,
            "engine": self.engine,
            "top_k": self.top_k,
        }

    def load(self) -> None:
        """Load the network in this process, at the first call.

        Raises:
            CheckpointError: the checkpoint cannot be loaded.
        """
        _preparation(self.checkpoint)
        _network(self)

    def prepare(self, data: bytes) -> PreparedLesion | Row:
        """Decode a photo, find the lesion and crop; return the row of a photo that is not usable.

        Raises:
            PhotoError: the photo cannot be decoded.
            CheckpointError: the checkpoint cannot be loaded.
        """
        model = _preparation(self.checkpoint)
        prepared = prepare_lesion(data, localizer=model.localizer, side_px=model.side_px)
        problems = model.rules.problems_before(prepared)
        if not problems:
            return prepared
        return self._row(model.rules.unusable(prepared, problems, is_classified=False))

    def classify(self, prepared: Sequence[PreparedLesion]) -> list[Row]:
        """Return the rows of prepared photos.

        Raises:
            CheckpointError: the checkpoint cannot be loaded.
        """
        rules = _preparation(self.checkpoint).rules
        photos = [LesionPhoto(image_HWC=one.image_HWC) for one in prepared]
        rows: list[Row] = []
        for one, report in zip(prepared, _network(self).classify(photos), strict=True):
            problems = rules.problems_after(one, report)
            answer = (
                rules.unusable(one, problems, is_classified=True)
                if problems
                else rules.usable(one, report, top_k=self.top_k)
            )
            rows.append(self._row(answer))
        return rows

    def _row(self, answer: LesionAnswer) -> Row:
        diagnosis = answer.diagnosis
        return {
            "model": self.model,
            "verdict": answer.verdict,
            "usable": answer.usable,
            "reasons": [{"code": one.code, "message": one.message} for one in answer.reasons],
            "malignant_probability": answer.malignant_probability,
            "threshold": answer.threshold,
            "benign_threshold": answer.benign_threshold,
            "risk_level": answer.risk_level,
            "diagnosis": diagnosis.name if diagnosis else None,
            "diagnosis_group": diagnosis.group if diagnosis else None,
            "diagnosis_probability": diagnosis.probability if diagnosis else None,
            "diagnoses": [
                {"name": one.name, "group": one.group, "probability": one.probability}
                for one in answer.diagnoses
            ],
            "lesion_box": answer.lesion_box,
            "crop_box": answer.crop_box,
        }


def lesion_scorer(
    checkpoint: str, *, device: str = "cpu", engine: EngineName = "auto", top_k: int = DEFAULT_TOP_K
) -> LesionScorer:
    """Check a lesion checkpoint and return its scorer.

    Args:
        checkpoint: folder or ``s3://`` address; a folder must exist on every node of the cluster.

    Raises:
        CheckpointError: it is missing, damaged, or no lesion checkpoint.
    """
    folder = local_checkpoint(checkpoint)
    meta = verify_checkpoint(folder)
    if meta.kind != "lesion":
        raise CheckpointError(
            f"{checkpoint} is a {meta.kind} checkpoint; bulk scoring needs a lesion checkpoint"
        )
    gate_of(meta)
    LesionConfig().thresholds_of(meta)
    return LesionScorer(
        checkpoint=checkpoint if "://" in checkpoint else str(folder.resolve()),
        model=f"{meta.name}@{meta.version}",
        weights_sha256=meta.weights_sha256,
        device=device,
        engine=engine,
        top_k=top_k,
    )


@dataclass(frozen=True, kw_only=True)
class _Preparation:
    rules: AnswerRules
    localizer: Localizer | None
    side_px: int


@functools.cache
def _preparation(checkpoint: str) -> _Preparation:
    """Return the parts of a model that need no PyTorch, loaded once in a process."""
    folder = local_checkpoint(checkpoint)
    meta = verify_checkpoint(folder)
    gate = gate_of(meta)
    return _Preparation(
        rules=AnswerRules(
            model=ModelName(name=meta.name, version=meta.version),
            thresholds=LesionConfig().thresholds_of(meta),
            gate=gate,
        ),
        localizer=Localizer(folder, gate) if gate else None,
        side_px=meta.input_px,
    )


@functools.cache
def _network(scorer: LesionScorer) -> LesionNetwork:
    """Return the network on one thread, loaded once in a process."""
    from models.lesion.engine_loader import load_lesion_engine  # the other processes need no engine

    engine = load_lesion_engine(
        local_checkpoint(scorer.checkpoint),
        device=scorer.device,
        num_threads=1,
        engine=scorer.engine,
        max_batch_size=scorer.batch_size,
    )
    engine.ping()
    return LesionNetwork(engine, LesionConfig())
