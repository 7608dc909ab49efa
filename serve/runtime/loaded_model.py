"""Describe models for ``GET /v1/models``; read thresholds of checkpoints."""

from collections.abc import Mapping

from models.checkpoint import CheckpointError, CheckpointMeta
from serve.runtime.model_cache import ModelRuntime
from serve.runtime.model_catalog import CatalogEntry
from serve.schemas import Gate, LoadedModel


def threshold_of(meta: CheckpointMeta, name: str) -> float:
    """Return one threshold of a checkpoint.

    Raises:
        CheckpointError: the checkpoint has none of that name.
    """
    if name not in meta.thresholds:
        raise CheckpointError(f"checkpoint {meta.name} has no threshold {name!r}; release it again with one")
    return meta.thresholds[name]


def loaded_model(
    entry: CatalogEntry,
    runtime: ModelRuntime | None,
    *,
    default: bool = True,
    thresholds: Mapping[str, float] | None = None,
    gate: Gate | None = None,
) -> LoadedModel:
    """Describe a model for ``GET /v1/models``.

    Args:
        runtime: None for a model that is not loaded.
        thresholds: of the settings, which replace those of the checkpoint.
    """
    meta = entry.meta
    return LoadedModel(
        kind=meta.kind,
        name=meta.name,
        version=meta.version,
        default=default,
        stage=entry.stage,
        description=meta.description,
        sha256=meta.weights_sha256,
        labels=list(meta.labels),
        groups=meta.groups,
        input_px=meta.input_px,
        thresholds={**meta.thresholds, **(thresholds or {})},
        released_thresholds=meta.thresholds,
        ranking_weights=meta.ranking_weights,
        gate=gate,
        metrics=meta.metrics,
        training_data=meta.training_data,
        data_licence=meta.data_licence,
        device=runtime.device if runtime else None,
        engine=runtime.engine if runtime else None,
        cuda_graphs=runtime.cuda_graphs if runtime else None,
        model_card=entry.model_card,
    )
