"""Models of the protocol: those of ``/v1/models``, and the name of each task for its default model."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from serve.open_inference.messages import OpenInferenceTask, TensorSpec
from serve.runtime.errors import ApiError
from serve.runtime.model_catalog import CatalogEntry, ModelCatalog


@dataclass(frozen=True, kw_only=True)
class SelectedModel:
    """Model of a request."""

    task: str
    selector: str | None
    """``name`` or ``name@version``; None: production or its canary."""
    entry: CatalogEntry
    """Named model, or production."""


class ServedModels:
    """Find and describe the models of all tasks that are registered for the protocol.

    Args:
        tasks: registration of each task, by its name.
        catalogs: of all tasks, by their names.
    """

    def __init__(self, tasks: Mapping[str, OpenInferenceTask], catalogs: Mapping[str, ModelCatalog]) -> None:
        self.tasks = tasks
        self._catalogs = catalogs

    def find(self, name: str, version: str | None = None) -> SelectedModel:
        """Return the model with a name, or the default model of a task.

        Raises:
            ApiError: ``not_found``.
        """
        selector = name if version is None else f"{name}@{version}"
        for task in self.tasks:
            catalog = self._catalogs[task]
            if entry := catalog.find(selector):
                return SelectedModel(task=task, selector=selector, entry=entry)
            if name == task:
                if version is None:
                    return SelectedModel(task=task, selector=None, entry=catalog.default)
                selector = f"{catalog.default.name}@{version}"
                if entry := catalog.find(selector):
                    return SelectedModel(task=task, selector=selector, entry=entry)
        wanted = name if version is None else f"{name} version {version}"
        raise ApiError(
            "not_found",
            f"there is no model {wanted[:100]!r}; POST /v2/repository/index lists the models, and "
            f"{' and '.join(self.tasks)} mean the default ones",
        )

    def entries(self) -> Iterator[tuple[str, CatalogEntry]]:
        """Return all models with their tasks."""
        for task in self.tasks:
            for entry in self._catalogs[task].entries:
                yield task, entry

    def versions(self, found: SelectedModel) -> list[str]:
        """Return the versions of a model."""
        entries = self._catalogs[found.task].entries
        return [one.version for one in entries if one.name == found.entry.name]

    def describe(self, found: SelectedModel) -> dict[str, Any]:
        """Return the metadata of a model."""
        task = self.tasks[found.task]
        return {
            "name": found.entry.name,
            "versions": self.versions(found),
            "platform": f"skinserve_{found.task}",
            "inputs": [_describe(one) for one in task.inputs],
            "outputs": [_describe(one) for one in task.outputs(found.entry)],
        }


def _describe(spec: TensorSpec) -> dict[str, Any]:
    fields: dict[str, Any] = {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}
    return fields | ({"parameters": dict(spec.parameters)} if spec.parameters else {})
