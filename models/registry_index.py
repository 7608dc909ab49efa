"""Index of the model registry: stages of all versions of one task; no files.

At most one version is in production, the default model of the task, and at most one is the canary.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.errors import SkinserveError

FORMAT_VERSION = 1
MAX_EVENTS = 200
MAX_PREVIOUS = 20
REPAIR = "run: skinserve models restore"
_PART = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}"
"""Pattern of names and versions, which are names of folders."""

Stage = Literal["candidate", "canary", "production", "retired"]


class RegistryError(SkinserveError):
    """Report a change that the registry rejects, or an index that cannot be used."""


class CorruptIndexError(RegistryError):
    """Report an index that is damaged, missing or of another format version."""


class VersionName(NamedTuple):
    """Name and version of a checkpoint in the registry."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelVersion(_Stored):
    """One version of a model."""

    name: str = Field(pattern=f"^{_PART}$")
    version: str = Field(pattern=f"^{_PART}$")
    stage: Stage = "candidate"
    share: float | None = Field(default=None, gt=0, le=1, description="of the requests, for a canary")
    shadow: bool = Field(default=False, description="a canary whose answers are only compared")
    weights_sha256: str
    files: dict[str, str] = Field(description="sha256 by file name")
    num_bytes: int = Field(ge=0, description="of all files")
    pushed_at: datetime
    changed_at: datetime
    reason: str = Field(default="", description="of the last change of the stage")

    @model_validator(mode="after")
    def _check_canary(self) -> Self:
        if (self.stage == "canary") != (self.shadow or self.share is not None):
            raise ValueError("a canary, and no other stage, has a share or shadow")
        if self.shadow and self.share is not None:
            raise ValueError("a canary has either a share or shadow")
        return self

    @property
    def id(self) -> VersionName:
        """Name and version."""
        return VersionName(self.name, self.version)


class Event(_Stored):
    """One change of a stage."""

    at: datetime
    model: str = Field(description="name@version")
    before: Stage | None = Field(description="null: pushed")
    after: Stage
    reason: str = ""


class Index(_Stored):
    """Content of ``index.json`` of one task. Changes return a new index."""

    format_version: int = FORMAT_VERSION
    task: str
    versions: dict[str, ModelVersion] = Field(default={}, description="by name@version")
    previous_productions: tuple[str, ...] = Field(
        default=(), description="name@version of earlier productions, the latest last"
    )
    events: tuple[Event, ...] = Field(default=(), description="the latest last")

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        if wrong := [key for key, one in self.versions.items() if key != str(one.id)]:
            raise ValueError(f"versions has the key {wrong[0]!r} for another name and version")
        for stage in ("production", "canary"):
            if len(found := self._in_stage(stage)) > 1:
                raise ValueError(f"{len(found)} versions have the stage {stage}, needed is at most one")
        return self

    @property
    def production(self) -> ModelVersion | None:
        """The default model of the task."""
        return next(iter(self._in_stage("production")), None)

    @property
    def canary(self) -> ModelVersion | None:
        """The version under trial."""
        return next(iter(self._in_stage("canary")), None)

    @property
    def rollback_target(self) -> ModelVersion | None:
        """The latest earlier production that is not retired; None: the checkpoints of the settings."""
        current = self.production
        found = (self.versions.get(key) for key in reversed(self.previous_productions))
        return next((one for one in found if one and one.stage != "retired" and one != current), None)

    def get(self, model: VersionName) -> ModelVersion:
        """Return a version.

        Raises:
            RegistryError: there is none.
        """
        if (found := self.versions.get(str(model))) is None:
            raise RegistryError(
                f"the registry has no {self.task} model {model}; it has "
                f"{', '.join(self.versions) or 'none'}; push it, or correct the name"
            )
        return found

    def with_version(self, new: ModelVersion) -> Index:
        """Add a version."""
        event = Event(at=new.pushed_at, model=str(new.id), before=None, after=new.stage, reason=new.reason)
        return self._changed(versions={**self.versions, str(new.id): new}, events=(*self.events, event))

    def with_production(self, model: VersionName, reason: str = "") -> Index:
        """Make a version the default model of the task; the present one becomes a candidate.

        Raises:
            RegistryError: the version is missing or retired.
        """
        new, old = self._promotable(model), self.production
        if new == old:
            return self
        index = self
        if old is not None:
            previous = (*self.previous_productions, str(old.id))[-MAX_PREVIOUS:]
            index = index._with_stage(old, "candidate", reason=f"replaced by {model}")
            index = index._changed(previous_productions=previous)
        return index._with_stage(new, "production", reason=reason)

    def with_canary(
        self, model: VersionName, *, share: float | None = None, shadow: bool = False, reason: str = ""
    ) -> Index:
        """Put a version on trial; the present canary becomes a candidate.

        Raises:
            RegistryError: the version is missing, retired or in production.
        """
        new, old = self._promotable(model), self.canary
        if new.stage == "production":
            raise RegistryError(f"{model} is in production already; promote another version to canary")
        if (new.stage, new.share, new.shadow) == ("canary", share, shadow):
            return self
        index = self
        if old is not None and old.id != model:
            index = index._with_stage(old, "candidate", reason=f"replaced by {model}")
        return index._with_stage(new, "canary", share=share, shadow=shadow, reason=reason)

    def with_candidate(self, model: VersionName, reason: str = "") -> Index:
        """Make a canary or a retired version a candidate.

        Raises:
            RegistryError: the version is missing or in production.
        """
        found = self._not_in_production(model)
        return self if found.stage == "candidate" else self._with_stage(found, "candidate", reason=reason)

    def without_production(self, reason: str = "") -> Index:
        """Return production to the previous version; without one to the checkpoints of the settings.

        Raises:
            RegistryError: no version is in production.
        """
        old, target = self.production, self.rollback_target
        if old is None:
            raise RegistryError(
                f"no {self.task} model of the registry is in production, so there is nothing to roll back; "
                "the servers serve the checkpoints of their settings"
            )
        index = self._with_stage(old, "candidate", reason=reason)
        if target is None:
            return index._changed(previous_productions=())
        last = len(self.previous_productions) - 1 - self.previous_productions[::-1].index(str(target.id))
        index = index._changed(previous_productions=self.previous_productions[:last])
        return index._with_stage(target, "production", reason=reason or f"rolled back from {old.id}")

    def with_retired(self, model: VersionName, reason: str = "") -> Index:
        """Retire a version: it is never served again unless it is made a candidate.

        Raises:
            RegistryError: the version is missing or in production.
        """
        found = self._not_in_production(model)
        return self if found.stage == "retired" else self._with_stage(found, "retired", reason=reason)

    def _in_stage(self, stage: Stage) -> list[ModelVersion]:
        return [one for one in self.versions.values() if one.stage == stage]

    def _promotable(self, model: VersionName) -> ModelVersion:
        found = self.get(model)
        if found.stage == "retired":
            raise RegistryError(
                f"{model} is retired ({found.reason or 'no reason given'}); make it a candidate first: "
                f"skinserve models promote {model} --stage candidate"
            )
        return found

    def _not_in_production(self, model: VersionName) -> ModelVersion:
        found = self.get(model)
        if found.stage == "production":
            raise RegistryError(
                f"{model} is in production; promote another version, or run: skinserve models rollback "
                f"{self.task} --production"
            )
        return found

    def _with_stage(
        self,
        old: ModelVersion,
        stage: Stage,
        *,
        share: float | None = None,
        shadow: bool = False,
        reason: str = "",
    ) -> Index:
        now = datetime.now(UTC)
        changes = {"stage": stage, "share": share, "shadow": shadow, "changed_at": now, "reason": reason}
        event = Event(at=now, model=str(old.id), before=old.stage, after=stage, reason=reason)
        new = ModelVersion.model_validate(old.model_dump() | changes)
        return self._changed(
            versions={**self.versions, str(old.id): new}, events=(*self.events, event)[-MAX_EVENTS:]
        )

    def _changed(self, **changes: Any) -> Index:
        return self.model_copy(update=changes)


def parse_index(content: bytes, task: str, address: str) -> Index:
    """Parse and check ``index.json``.

    Raises:
        CorruptIndexError: it is damaged, of another task or of another format version.
    """
    try:
        stored: object = json.loads(content)
        version = stored.get("format_version") if isinstance(stored, dict) else None
        if isinstance(version, int) and version != FORMAT_VERSION:
            raise CorruptIndexError(
                f"{address} has format version {version}, this code needs {FORMAT_VERSION}; use the version "
                "of skinserve that wrote it"
            )
        index = Index.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        what = f"{'.'.join(map(str, first['loc']))} {first['msg']}".strip()
        raise CorruptIndexError(f"{address} is damaged ({what}); {REPAIR}") from error
    except ValueError as error:
        raise CorruptIndexError(f"{address} is damaged (no JSON: {error}); {REPAIR}") from error
    if index.task != task:
        raise CorruptIndexError(f"{address} is the index of the task {index.task!r}, not {task!r}; {REPAIR}")
    return index


def parse_version_name(text: str) -> VersionName:
    """Parse ``name@version``.

    Raises:
        RegistryError: it has another form.
    """
    name, at, version = text.partition("@")
    if not at or not re.fullmatch(_PART, name) or not re.fullmatch(_PART, version):
        raise RegistryError(
            f"{text!r} names no version; needed is NAME@VERSION, such as lesion-reference@5 (letters, digits "
            "and ._+-, at most 100 each)"
        )
    return VersionName(name, version)


def merged(found: Mapping[str, ModelVersion], known: Index) -> Index:
    """Return an index of the found versions, with the stages of a known index."""
    versions = {
        key: one if (old := known.versions.get(key)) is None or old.files != one.files else old
        for key, one in found.items()
    }
    previous = tuple(key for key in known.previous_productions if key in versions)
    return Index(
        task=known.task, versions=versions, previous_productions=previous, events=known.events[-MAX_EVENTS:]
    )
