"""Facts of a loaded checkpoint."""

from collections.abc import Mapping

from models.checkpoint import CheckpointError, CheckpointMeta
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
    meta: CheckpointMeta,
    *,
    device: str,
    engine: str,
    model_card: str,
    cuda_graphs: bool | None = None,
    thresholds: Mapping[str, float] | None = None,
    gate: Gate | None = None,
) -> LoadedModel:
    """Describe a loaded network for ``GET /v1/models``.

    Args:
        thresholds: of the settings, which replace those of the checkpoint.
    """
    return LoadedModel(
        kind=meta.kind,
        name=meta.name,
        version=meta.version,
        sha256=meta.weights_sha256,
        labels=list(meta.labels),
        groups=meta.groups,
        input_px=meta.input_px,
        thresholds={**meta.thresholds, **(thresholds or {})},
        released_thresholds=meta.thresholds,
        gate=gate,
        metrics=meta.metrics,
        training_data=meta.training_data,
        data_licence=meta.data_licence,
        device=device,
        engine=engine,
        cuda_graphs=cuda_graphs,
        model_card=model_card,
    )
