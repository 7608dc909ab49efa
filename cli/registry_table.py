"""Table of ``skinserve models list``."""

from collections.abc import Iterator

from pydantic import ValidationError

from cli.text_table import text_table
from models.checkpoint import META, CheckpointMeta
from models.metrics import HEADLINE_METRICS, Metric
from models.registry import Registry
from models.registry_index import ModelVersion, RegistryError
from models.storage import StorageError, join, read_bytes

HEADINGS = ("task", "name", "version", "stage", "requests", *HEADLINE_METRICS, "n", "MB", "changed", "reason")


def registry_table(registry: Registry, task: str = "") -> str:
    """Return the versions of one task or of all, those in production first.

    Raises:
        RegistryError: there is no registry, it has other tasks only, or an index is damaged.
        StorageError: it cannot be read.
    """
    tasks = registry.tasks()
    if task and tasks and task not in tasks:
        raise RegistryError(f"{registry.address} has no task {task!r}; it has {', '.join(tasks)}")
    rows = [row for one in ([task] if task else tasks) for row in _rows(registry, one)]
    if not rows:
        return f"{registry.address} has no versions; add one: skinserve models push CHECKPOINT --registry ..."
    return text_table([HEADINGS, *rows])


def _rows(registry: Registry, task: str) -> Iterator[list[str]]:
    order = ("production", "canary", "candidate", "retired")
    versions = registry.read(task).versions.values()
    for version in sorted(versions, key=lambda one: (order.index(one.stage), one.id)):
        meta = _meta_of(registry.version_address(task, version.id))
        yield [
            task,
            version.name,
            version.version,
            version.stage,
            _requests(version),
            *_metrics(meta),
            f"{version.num_bytes / 1e6:.1f}",
            f"{version.changed_at:%Y-%m-%d %H:%M} UTC",
            "not usable: its files are missing or damaged" if meta is None else version.reason,
        ]


def _requests(version: ModelVersion) -> str:
    if version.shadow:
        return "shadow"
    return "" if version.share is None else f"{version.share:.0%}"


def _metrics(meta: CheckpointMeta | None) -> tuple[str, ...]:
    summary = {} if meta is None else meta.metrics.summary()
    found = [summary.get(name, Metric()) for name in HEADLINE_METRICS]
    shown = ["not measured" if metric.value is None else metric.with_interval() for metric in found]
    return (*shown, "" if found[0].n is None else f"{found[0].n:,}")


def _meta_of(address: str) -> CheckpointMeta | None:
    try:
        return CheckpointMeta.model_validate_json(read_bytes(join(address, META)))
    except (StorageError, ValidationError):
        return None
