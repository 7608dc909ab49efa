"""Catalog of the models of each task that clients can choose by name and version."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import Query

from models.checkpoint import CheckpointError, CheckpointMeta, local_checkpoint, read_meta, read_model_card
from serve.runtime.errors import ApiError

MAX_SELECTOR_CHARS = 200

ModelSelector = Annotated[
    str | None,
    Query(
        description="name or name@version of one of /v1/models; default: the first one there",
        examples=["lesion-reference@6"],
        max_length=MAX_SELECTOR_CHARS,
    ),
]
"""Query parameter ``model`` of a route."""


@dataclass(frozen=True, kw_only=True)
class CatalogEntry:
    """One checkpoint that can be served."""

    address: str
    """Folder or s3:// address; the multiplexed model id of the replicas."""
    meta: CheckpointMeta
    model_card: str
    stage: str | None = None
    """In the registry; None without one."""

    @property
    def name(self) -> str:
        """Return the name in ``meta.json``."""
        return self.meta.name

    @property
    def version(self) -> str:
        """Return the version in ``meta.json``."""
        return self.meta.version

    @property
    def selector(self) -> str:
        """Return ``name@version``."""
        return f"{self.name}@{self.version}"

    def is_selected_by(self, selector: str) -> bool:
        """Return whether ``name`` or ``name@version`` of a request means this model."""
        return selector == self.selector or (selector == self.name and self.stage != "canary")


def read_entry(address: str, kind: str, *, stage: str | None = None) -> CatalogEntry:
    """Read the entry of a checkpoint; download it from S3 once.

    Raises:
        CheckpointError: it is missing, unreadable, or a checkpoint of another task.
    """
    folder = local_checkpoint(address)
    meta = read_meta(folder)
    if meta.kind != kind:
        raise CheckpointError(
            f"checkpoint {address} is a {meta.kind} network, a {kind} network is needed; list it under "
            f"{meta.kind}.checkpoints"
        )
    return CatalogEntry(address=address, meta=meta, model_card=read_model_card(folder), stage=stage)


class ModelCatalog:
    """The models of one task, the default one first.

    Args:
        task: kind of the checkpoints.
        entries: at least one.
        route: serves the models; for messages.

    Raises:
        CheckpointError: there is no entry, or two have the same name and version.
    """

    def __init__(self, task: str, entries: Iterable[CatalogEntry], *, route: str) -> None:
        self.task = task
        self.route = route
        self._entries: tuple[CatalogEntry, ...] = ()
        self.replace(entries)

    @property
    def entries(self) -> tuple[CatalogEntry, ...]:
        """Return all models, the default one first."""
        return self._entries

    @property
    def default(self) -> CatalogEntry:
        """Return the model of a request that chooses none."""
        return self._entries[0]

    def replace(self, entries: Iterable[CatalogEntry]) -> None:
        """Exchange all entries at once; requests in progress keep the entry that they have."""
        new = tuple(entries)
        if not new:
            raise CheckpointError(f"task {self.task} has no checkpoint; list at least one")
        by_selector: dict[str, CatalogEntry] = {}
        for entry in new:
            other = by_selector.setdefault(entry.selector, entry)
            if other is not entry:
                raise CheckpointError(
                    f"checkpoints {other.address} and {entry.address} are both {entry.selector}; give one "
                    "of them another version"
                )
        self._entries = new

    def find(self, selector: str) -> CatalogEntry | None:
        """Return the first model with this ``name`` or ``name@version``; a canary only by both."""
        return next((one for one in self._entries if one.is_selected_by(selector)), None)

    def resolve(self, selector: str | None) -> CatalogEntry:
        """Return the model of a request: ``name``, ``name@version``, or the default one.

        Raises:
            ApiError: ``not_found``, with the models that exist.
        """
        if selector is None:
            return self.default
        found = self.find(selector)
        if found is None:
            known = ", ".join(entry.selector for entry in self._entries)
            message = f"{self.route} has no model {selector!r}; it has {known}"
            if any(entry.name == selector for entry in self._entries):
                message += "; a canary is chosen by name and version"
            raise ApiError("not_found", message)
        return found


def resolve_model(catalogs: Mapping[str, ModelCatalog], task: str, selector: str | None) -> CatalogEntry:
    """Return the model of a request to a route of a task.

    Raises:
        ApiError: ``not_found``, with the models that exist, or with the route of a model of another task.
    """
    if selector is not None and catalogs[task].find(selector) is None:
        for other in catalogs.values():
            if found := other.find(selector):
                raise ApiError(
                    "not_found",
                    f"model {found.selector} belongs to {other.route}, not to {catalogs[task].route}; send "
                    "the request there",
                )
    return catalogs[task].resolve(selector)
