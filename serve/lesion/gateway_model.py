"""Lesion models of a gateway: thresholds, gate, preparation of photos, calls to replicas."""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from models.checkpoint import CheckpointError, local_checkpoint
from models.images import PhotoLimits
from models.lesion.gate import LesionGate, gate_of
from models.lesion.localizer import Localizer
from models.lesion.preparation import PreparedLesion, prepare_lesion, prepare_lesion_pixels
from serve.lesion.answer_rules import AnswerRules
from serve.lesion.config import LesionConfig
from serve.lesion.messages import LesionPhoto, LesionReport
from serve.runtime.errors import model_unavailable
from serve.runtime.model_catalog import CatalogEntry, ModelCatalog
from serve.runtime.replica_client import ModelClient, RequestCoalescer
from serve.schemas import ModelName


@dataclass(frozen=True, kw_only=True)
class GatewayModel:
    """One lesion model in a gateway."""

    rules: AnswerRules
    prepare: Callable[..., PreparedLesion]
    """Of a file."""
    prepare_pixels: Callable[..., PreparedLesion]
    """Of decoded pixels."""
    coalescer: RequestCoalescer[LesionPhoto, LesionReport]
    """Photos share calls only with those of the same model."""


class GatewayModels:
    """Build the models of a catalog, and keep them while they are in it.

    Models with the same localizer share its session. The models of the settings are built at once.

    Raises:
        CheckpointError: a gate belongs to another network or localizer.
    """

    def __init__(
        self, config: LesionConfig, catalog: ModelCatalog, replicas: ModelClient, limits: PhotoLimits
    ) -> None:
        self._config = config
        self._catalog = catalog
        self._replicas = replicas
        self._limits = limits
        self._localizers = WeakValueDictionary[str, Localizer]()
        self._lock = asyncio.Lock()
        self._models = {entry.address: self._build(entry) for entry in catalog.entries}

    async def get(self, entry: CatalogEntry) -> GatewayModel:
        """Return the model of an entry; build it in a thread if it is new.

        Raises:
            ApiError: ``model_unavailable``: its localizer cannot be loaded.
        """
        model = self._models.get(entry.address)
        if model is not None:
            return model
        async with self._lock:
            if entry.address not in self._models:
                try:
                    model = await asyncio.to_thread(self._build, entry)
                except CheckpointError as error:
                    raise model_unavailable(entry.selector, str(error)) from error
                known = {one.address for one in self._catalog.entries}
                self._models = {address: one for address, one in self._models.items() if address in known}
                self._models[entry.address] = model
            return self._models[entry.address]

    def _build(self, entry: CatalogEntry) -> GatewayModel:
        gate = gate_of(entry.meta)
        localizer = self._localizer(local_checkpoint(entry.address), gate) if gate else None
        is_default = entry.address == self._config.checkpoints[0]
        classify = partial(self._replicas.call, "classify", model="" if is_default else entry.address)
        options: dict[str, Any] = {
            "localizer": localizer,
            "side_px": entry.meta.input_px,
            "limits": self._limits,
        }
        return GatewayModel(
            rules=AnswerRules(
                model=ModelName(name=entry.name, version=entry.version),
                thresholds=self._config.thresholds_of(entry.meta),
                gate=gate,
            ),
            prepare=partial(prepare_lesion, **options),
            prepare_pixels=partial(prepare_lesion_pixels, **options),
            coalescer=RequestCoalescer(
                classify, threshold=self._config.coalesce_above if self._replicas.is_remote else sys.maxsize
            ),
        )

    def _localizer(self, folder: Path, gate: LesionGate) -> Localizer:
        localizer = self._localizers.get(gate.localizer_sha256)
        if localizer is None:
            localizer = self._localizers[gate.localizer_sha256] = Localizer(folder, gate)
        return localizer
