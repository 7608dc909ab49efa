"""Model registry in a folder or a bucket: versions of checkpoints and their stages.

``REGISTRY/TASK/NAME/VERSION/`` is a checkpoint folder, ``REGISTRY/TASK/index.json`` the index. A version is
in the index only after all its files were stored and read back.
Decision: docs/decisions/0032-model-registry.md.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from models.atomic_update import file_lock, update_file
from models.checkpoint import META, CheckpointError, local_checkpoint, verify_checkpoint
from models.registry_files import copy_version, hashes_of, new_version, read_version
from models.registry_index import (
    REPAIR,
    CorruptIndexError,
    Index,
    ModelVersion,
    RegistryError,
    VersionName,
    merged,
    parse_index,
    parse_version_name,
)
from models.storage import is_remote, join, list_files, read_bytes, write_bytes
from models.storage_errors import MissingError, StorageError, local_errors

INDEX, BACKUP = "index.json", "index.backup.json"


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """Result of a push."""

    task: str
    version: ModelVersion
    is_new: bool
    """False: the same content had been pushed before."""
    is_repaired: bool
    """Some of its files were missing or damaged."""


@dataclass(frozen=True, kw_only=True)
class Restored:
    """Result of a restore."""

    index: Index
    rejected: Mapping[str, str]
    """Reason why a folder is not in the index, by its address."""


class Registry:
    """Read and change the registry at one address."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/") or address

    def tasks(self) -> list[str]:
        """Return the tasks that have an index or a version.

        Raises:
            RegistryError: there is no registry.
            StorageError: it cannot be listed.
        """
        self._check_exists()
        parts = [file.removeprefix(self.address).lstrip("/").split("/") for file in list_files(self.address)]
        return sorted({one[0] for one in parts if one[1:] == [INDEX] or (len(one) == 4 and one[3] == META)})

    def read(self, task: str) -> Index:
        """Return the index of a task; an empty one before the first push.

        Raises:
            RegistryError: there is no registry, or the index is damaged or lost.
            StorageError: it cannot be read.
        """
        address = self._index(task)
        try:
            content = read_bytes(address)
        except MissingError:
            self._check_exists()
            return self._new_index(task)
        return parse_index(content, task, address)

    def version_address(self, task: str, model: VersionName) -> str:
        """Return the address of the checkpoint folder of a version."""
        return join(self.address, f"{task}/{model.name}/{model.version}")

    def push(self, checkpoint: str, *, reason: str = "") -> Pushed:
        """Store a checkpoint as a candidate; the same content again is accepted.

        Args:
            checkpoint: folder or ``s3://`` address; its ``meta.json`` has task, name and version.
            reason: recorded in the index.

        Raises:
            CheckpointError: the checkpoint is incomplete or damaged.
            RegistryError: name and version are in the registry with other content, or are no folder names.
            StorageError: the registry cannot be written.
        """
        folder = local_checkpoint(checkpoint)
        meta = verify_checkpoint(folder)
        task, model = meta.kind, parse_version_name(f"{meta.name}@{meta.version}")
        new = new_version(folder, meta, model, reason)
        target = self.version_address(task, model)
        if not is_remote(self.address):
            with local_errors(self.address, "written"):
                os.makedirs(self.address, exist_ok=True)
        with contextlib.nullcontext() if is_remote(target) else file_lock(target):
            self.change(task, lambda index: index)  # from now on a missing index means a lost one
            old = self.read(task).versions.get(str(model))
            stored = hashes_of(target)
            _check_same(target, new, old, stored)
            if stored != new.files:
                copy_version(folder, target, new)
                self.verify(task, new)
            self.change(task, lambda index: _with_pushed(index, new, target))
        is_repaired = old is not None and stored != new.files
        return Pushed(task=task, version=old or new, is_new=old is None, is_repaired=is_repaired)

    def verify(self, task: str, version: ModelVersion) -> None:
        """Read all files of a version and compare their hashes with the index.

        Raises:
            RegistryError: a file is missing or differs.
            StorageError: a file cannot be read.
        """
        address = self.version_address(task, version.id)
        found = hashes_of(address)
        if wrong := [name for name, sha256 in version.files.items() if found.get(name) != sha256]:
            what = "is missing" if wrong[0] not in found else "has another hash than in the index"
            raise RegistryError(
                f"{version.id} cannot be used: {address}/{wrong[0]} {what}; push the checkpoint again"
            )

    def change(self, task: str, change: Callable[[Index], Index]) -> Index:
        """Change the index of a task atomically, and return the new one.

        Args:
            task: of the index.
            change: called again with a newer index if another writer was faster.

        Raises:
            RegistryError: by ``change``, or the index is damaged or lost.
            StorageError: it cannot be read or written.
        """
        self._check_exists()
        address = self._index(task)
        result, is_changed = Index(task=task), False

        def changed(before: bytes | None) -> bytes | None:
            nonlocal result, is_changed
            old = self._new_index(task) if before is None else parse_index(before, task, address)
            result = change(old)
            is_changed = before is None or result != old
            return _json(result) if is_changed else None

        update_file(address, changed)
        if is_changed:
            self._back_up(task, result)
        return result

    def restore(self, task: str) -> Restored:
        """Rebuild the index from the version folders, with stages of the index or its backup.

        A version whose stage is unknown becomes a candidate.

        Raises:
            RegistryError: there is no registry.
            StorageError: it cannot be read or written.
        """
        self._check_exists()
        found: dict[str, ModelVersion] = {}
        rejected: dict[str, str] = {}
        for address in self._version_folders(task):
            try:
                version = read_version(address, task)
            except (CheckpointError, RegistryError, MissingError) as error:
                rejected[address] = str(error)
            else:
                found[str(version.id)] = version
        index = Index(task=task)

        def rebuilt(before: bytes | None) -> bytes:
            nonlocal index
            index = merged(found, self._known(task, before))
            return _json(index)

        update_file(self._index(task), rebuilt)
        self._back_up(task, index)
        return Restored(index=index, rejected=rejected)

    def _index(self, task: str) -> str:
        return join(self.address, f"{task}/{INDEX}")

    def _backup(self, task: str) -> str:
        return join(self.address, f"{task}/{BACKUP}")

    def _back_up(self, task: str, index: Index) -> None:
        """Write the backup copy for ``restore``. A failure is ignored: the index itself was written."""
        with contextlib.suppress(StorageError):
            write_bytes(self._backup(task), _json(index))

    def _known(self, task: str, content: bytes | None) -> Index:
        """Return the index, else its backup copy, else an empty index."""
        if content is not None:
            with contextlib.suppress(CorruptIndexError):
                return parse_index(content, task, self._index(task))
        with contextlib.suppress(CorruptIndexError, MissingError):
            return parse_index(read_bytes(self._backup(task)), task, self._backup(task))
        return Index(task=task)

    def _check_exists(self) -> None:
        if not is_remote(self.address) and not os.path.isdir(self.address):
            raise RegistryError(
                f"there is no registry {self.address}; correct the path, or create it: skinserve models push"
            )

    def _new_index(self, task: str) -> Index:
        """Return an empty index, unless there are versions whose index is lost."""
        if folders := self._version_folders(task):
            raise CorruptIndexError(
                f"{self._index(task)} is missing, but there are {len(folders)} versions, such as "
                f"{folders[0]}; {REPAIR}"
            )
        return Index(task=task)

    def _version_folders(self, task: str) -> list[str]:
        root = join(self.address, task)
        parts = [file.removeprefix(root).lstrip("/").split("/") for file in list_files(root)]
        return sorted({join(root, f"{one[0]}/{one[1]}") for one in parts if len(one) == 3})


def _check_same(target: str, new: ModelVersion, old: ModelVersion | None, stored: Mapping[str, str]) -> None:
    """Raise if the index or the folder has other content of this name and version."""
    if old is None and META in stored and stored != new.files:
        raise RegistryError(
            f"{target} has other files and is not in the index; delete that folder and push again, or add it "
            "to the index by skinserve models restore"
        )
    if old is not None and old.files != new.files:
        raise RegistryError(
            f"{new.id} is in the registry with other content ({target}); release the checkpoint with another "
            "version"
        )


def _with_pushed(index: Index, new: ModelVersion, target: str) -> Index:
    old = index.versions.get(str(new.id))
    _check_same(target, new, old, {})
    return index.with_version(new) if old is None else index


def _json(index: Index) -> bytes:
    return index.model_dump_json(indent=2).encode() + b"\n"
