"""Command line of the model registry: ``skinserve models``."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Protocol

import tyro

from cli.comparison import comparison_table
from cli.registry_table import registry_table
from cli.verdict_changes import compare_verdicts
from models.checkpoint import local_checkpoint, read_meta
from models.errors import EXIT_DONE, command
from models.registry import Registry
from models.registry_index import Index, ModelVersion, RegistryError, VersionName, parse_version_name
from models.storage import is_remote

_RegistryAddress = Annotated[str, tyro.conf.arg(metavar="FOLDER|s3://BUCKET/PREFIX")]
_Model = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME@VERSION")]


class _Subcommand(Protocol):
    def run(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class ListModels:
    """Print all versions with stage, share of the requests, metrics and size."""

    registry: _RegistryAddress
    """Address of the registry."""
    task: str = ""
    """Only this task, such as lesion."""

    def run(self) -> str:
        """Return the table."""
        return registry_table(Registry(self.registry), self.task)


@dataclass(frozen=True, kw_only=True)
class Push:
    """Store a checkpoint as a candidate. Its meta.json has task, name and version."""

    checkpoint: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CHECKPOINT")]
    """Folder or s3:// address, as skinserve release writes it."""
    registry: _RegistryAddress
    """Address of the registry; a missing folder is created."""
    reason: str = ""
    """Recorded in the index."""

    def run(self) -> str:
        """Push, and describe the version."""
        checkpoint = local_checkpoint(self.checkpoint)
        _check_task(checkpoint, read_meta(checkpoint).kind)
        pushed = Registry(self.registry).push(self.checkpoint, reason=self.reason)
        version = pushed.version
        if pushed.is_repaired:
            return f"{pushed.task} {version.id} had missing or damaged files; they are replaced"
        if not pushed.is_new:
            return f"{pushed.task} {version.id} is in the registry already, with stage {version.stage}"
        return (
            f"{pushed.task} {version.id} is a candidate ({version.num_bytes / 1e6:.1f} MB, sha256 "
            f"{version.weights_sha256[:12]})"
        )


@dataclass(frozen=True, kw_only=True)
class Promote:
    """Change the stage of a version; servers with this registry follow within 30 s."""

    model: _Model
    """Of the version; TASK/NAME@VERSION if two tasks have it."""
    registry: _RegistryAddress
    """Address of the registry."""
    stage: Literal["candidate", "canary", "production"]
    """production: the default model of its task. canary: on trial. candidate: stored, not served."""
    share: float | None = None
    """Of the requests that a canary answers, above 0 and up to 1."""
    shadow: bool = False
    """The canary computes in the background, and production answers every request."""
    reason: str = ""
    """Recorded in the index."""

    def run(self) -> str:
        """Promote, and describe the new state."""
        self._check_options()
        registry = Registry(self.registry)
        task, model = find_version(registry, self.model)
        if self.stage != "candidate":
            registry.verify(task, registry.read(task).get(model))
        index = registry.change(task, lambda index: self._changed(index, model))
        return _state(task, index, f"{task} {model} is {_stage_text(self.stage)}")

    def _changed(self, index: Index, model: VersionName) -> Index:
        if self.stage == "production":
            return index.with_production(model, self.reason)
        if self.stage == "candidate":
            return index.with_candidate(model, self.reason)
        return index.with_canary(model, share=self.share, shadow=self.shadow, reason=self.reason)

    def _check_options(self) -> None:
        is_canary = self.stage == "canary"
        if is_canary == (self.share is None and not self.shadow) or (self.share is not None and self.shadow):
            raise RegistryError(
                "a canary needs either --share or --shadow, such as --stage canary --share 0.1, other stages "
                "neither"
            )
        if self.share is not None and not 0 < self.share <= 1:
            raise RegistryError(f"--share is {self.share:g}; it must be above 0 and at most 1")


@dataclass(frozen=True, kw_only=True)
class Rollback:
    """Stop the canary of a task; with --production, return production to the previous version."""

    task: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TASK")]
    """lesion or progress."""
    registry: _RegistryAddress
    """Address of the registry."""
    production: bool = False
    """Return production to the previous version, or to the checkpoints of the settings."""
    reason: str = ""
    """Recorded in the index."""

    def run(self) -> str:
        """Roll back, and describe the new state."""
        registry = Registry(self.registry)
        tasks = registry.tasks()
        if tasks and self.task not in tasks:
            raise RegistryError(f"{self.registry} has no task {self.task!r}; it has {', '.join(tasks)}")
        before = registry.read(self.task)
        stopped = self._stopped(before)
        if self.production and before.rollback_target is not None:
            registry.verify(self.task, before.rollback_target)

        def rolled_back(index: Index) -> Index:
            if self._stopped(index) != stopped:
                raise RegistryError(
                    f"the stages of {self.task} were changed by another command; look at skinserve models "
                    "list, then run this command again if it is still needed"
                )
            if self.production:
                return index.without_production(self.reason)
            return index.with_candidate(stopped.id, self.reason)

        index = registry.change(self.task, rolled_back)
        return _state(self.task, index, f"{self.task} {stopped.id} is no longer {_stage_text(stopped.stage)}")

    def _stopped(self, index: Index) -> ModelVersion:
        """Return the version that is stopped.

        Raises:
            RegistryError: there is none, or a canary must be stopped first.
        """
        if not self.production:
            if index.canary is not None:
                return index.canary
            production = index.production
            hint = f"; add --production to take {production.id} out of production" if production else ""
            raise RegistryError(f"{self.task} has no canary to stop{hint}")
        if index.canary is not None:
            raise RegistryError(
                f"{index.canary.id} is the canary of {self.task}; stop it first: the same command without "
                "--production"
            )
        if index.production is None:
            raise RegistryError(
                f"no {self.task} model of the registry is in production, so there is nothing to roll back; "
                "the servers serve the checkpoints of their settings"
            )
        return index.production


@dataclass(frozen=True, kw_only=True)
class Retire:
    """Retire a version: it is not served, its files stay; promote --stage candidate takes that back."""

    model: _Model
    """Of the version; TASK/NAME@VERSION if two tasks have it."""
    registry: _RegistryAddress
    """Address of the registry."""
    reason: str = ""
    """Recorded in the index."""

    def run(self) -> str:
        """Retire, and describe the new state."""
        registry = Registry(self.registry)
        task, model = find_version(registry, self.model)
        index = registry.change(task, lambda index: index.with_retired(model, self.reason))
        return _state(task, index, f"{task} {model} is retired")


@dataclass(frozen=True, kw_only=True)
class Restore:
    """Rebuild the index of each task from its version folders; stages are kept."""

    registry: _RegistryAddress
    """Address of the registry."""
    task: str = ""
    """Only this task, such as lesion."""

    def run(self) -> str:
        """Restore, and describe what was found."""
        registry = Registry(self.registry)
        tasks = [self.task] if self.task else registry.tasks()
        if not tasks:
            raise RegistryError(f"{self.registry} has no version of any task; push one")
        lines: list[str] = []
        for task in tasks:
            restored = registry.restore(task)
            lines += [f"left out: {reason}" for reason in restored.rejected.values()]
            lines.append(_state(task, restored.index, f"{task}: {len(restored.index.versions)} versions"))
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Print metrics, thresholds and sizes of two checkpoints side by side, and changed verdicts."""

    first: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="A")]
    """NAME@VERSION of the registry, or a checkpoint folder."""
    second: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="B")]
    """NAME@VERSION of the registry, or a checkpoint folder."""
    registry: _RegistryAddress | None = None
    """Address of the registry; not needed for folders."""
    photos: str = ""
    """Folder of lesion photos: number and names of those with another verdict."""

    def run(self) -> str:
        """Return the table."""
        folders = [
            local_checkpoint(model_address(model, self.registry)) for model in (self.first, self.second)
        ]
        metas = [read_meta(folder) for folder in folders]
        if metas[0].kind != metas[1].kind:
            raise RegistryError(
                f"{self.first} is a {metas[0].kind} checkpoint and {self.second} a {metas[1].kind} "
                "checkpoint; compare two of one task"
            )
        if self.photos and metas[0].kind != "lesion":
            raise RegistryError(
                f"--photos compares lesion checkpoints, these are {metas[0].kind}; leave it out"
            )
        text = comparison_table(folders[0], folders[1])
        return text if not self.photos else f"{text}\n\n{compare_verdicts(folders, self.photos)}"


SUBCOMMANDS: dict[str, Callable[..., _Subcommand]] = {
    "list": ListModels,
    "push": Push,
    "promote": Promote,
    "rollback": Rollback,
    "retire": Retire,
    "restore": Restore,
    "compare": Compare,
}


@command("skinserve models")
def main(prog: str, arguments: Sequence[str] | None) -> int:
    """Read or change the model registry."""
    chosen = tyro.extras.subcommand_cli_from_dict(SUBCOMMANDS, args=arguments, prog=prog)
    print(chosen.run())
    return EXIT_DONE


def model_address(model: str, registry: str | None) -> str:
    """Return the address of a checkpoint: of a version in a registry, or ``model`` itself.

    Args:
        model: ``[TASK/]NAME@VERSION`` of the registry, a folder or an ``s3://`` address.
        registry: its address.

    Raises:
        RegistryError: there is no such version, or no registry was given.
    """
    if "@" not in model or is_remote(model):
        return model
    if registry is None:
        raise RegistryError(f"{model} is a version of a registry; give --registry, or name a folder")
    opened = Registry(registry)
    task, found = find_version(opened, model)
    opened.read(task).get(found)
    return opened.version_address(task, found)


def find_version(registry: Registry, text: str) -> tuple[str, VersionName]:
    """Return task, name and version of ``[TASK/]NAME@VERSION``.

    Raises:
        RegistryError: no task has the version, or two tasks have it.
    """
    task, slash, rest = text.partition("/")
    if slash:
        return task, parse_version_name(rest)
    model = parse_version_name(text)
    known = {task: registry.read(task).versions for task in registry.tasks()}
    tasks = [task for task, versions in known.items() if str(model) in versions]
    if len(tasks) == 1:
        return tasks[0], model
    if tasks:
        raise RegistryError(f"{' and '.join(tasks)} have {model}; write {tasks[0]}/{model}")
    names = [f"{task}/{name}" for task, versions in known.items() for name in versions]
    raise RegistryError(
        f"{registry.address} has no {model}; it has {', '.join(names) or 'no version'}; correct the name, or "
        "push the checkpoint"
    )


def _check_task(checkpoint: Path, kind: str) -> None:
    from serve.tasks import TASKS  # imports Ray

    if kind not in (names := [task.name for task in TASKS]):
        raise RegistryError(
            f"{checkpoint} is a {kind} checkpoint; a registry holds checkpoints of the tasks "
            f"{' and '.join(names)}"
        )


def _stage_text(stage: str) -> str:
    return {"production": "in production", "canary": "the canary", "candidate": "a candidate"}[stage]


def _state(task: str, index: Index, done: str) -> str:
    """Return the change and the new state of a task."""
    production = (
        "the checkpoints of the servers' settings" if index.production is None else index.production.id
    )
    canary = index.canary
    trial = "no canary"
    if canary is not None:
        trial = f"canary {canary.id} " + (
            "in shadow" if canary.share is None else f"on {canary.share:.0%} of requests"
        )
    return f"{done}\n{task} serves {production}, {trial}; servers with this registry follow within 30 s"


if __name__ == "__main__":
    sys.exit(main())
