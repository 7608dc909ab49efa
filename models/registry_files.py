"""Files of the versions in the model registry: hashes, copy and verification."""

import hashlib
import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from models.checkpoint import META, CheckpointMeta, verify_checkpoint
from models.registry_index import ModelVersion, RegistryError, VersionName, parse_version_name
from models.storage import delete, fetch_folder, join, list_files, read_bytes, upload_file


def copy_version(folder: Path, target: str, new: ModelVersion) -> None:
    """Copy the files of a version, ``meta.json`` last, which marks a complete copy."""
    for name in hashes_of(target).keys() - new.files.keys():
        delete(join(target, name))  # of an interrupted push of other content
    for name in sorted(new.files, key=lambda name: (name == META, name)):
        upload_file(folder / name, join(target, name))


def read_version(address: str, task: str) -> ModelVersion:
    """Verify a version folder and return its entry in the index.

    Raises:
        CheckpointError: a file is missing or damaged.
        RegistryError: the checkpoint is of another task, name or version than its folder.
    """
    name, version = address.split("/")[-2:]
    model = parse_version_name(f"{name}@{version}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = fetch_folder(address, Path(scratch))
        meta = verify_checkpoint(folder)
        if (meta.kind, meta.name, meta.version) != (task, *model):
            raise RegistryError(
                f"{address} holds the {meta.kind} checkpoint {meta.name}@{meta.version}; move it to "
                f"{meta.kind}/{meta.name}/{meta.version}"
            )
        return new_version(folder, meta, model, "restored")


def new_version(folder: Path, meta: CheckpointMeta, model: VersionName, reason: str) -> ModelVersion:
    """Return the entry of a local checkpoint folder, a candidate."""
    now = datetime.now(UTC)
    files = hashes_of(str(folder))
    return ModelVersion(
        name=model.name,
        version=model.version,
        weights_sha256=meta.weights_sha256,
        files=files,
        num_bytes=sum(os.path.getsize(folder / name) for name in files),
        pushed_at=now,
        changed_at=now,
        reason=reason,
    )


def hashes_of(folder: str) -> dict[str, str]:
    """Return the sha256 of every file of a folder by name, without hidden files."""
    names = {file: file.removeprefix(folder).lstrip("/") for file in list_files(folder)}
    return {
        name: hashlib.sha256(read_bytes(file)).hexdigest()
        for file, name in sorted(names.items())
        if not any(part.startswith(".") for part in name.split("/"))
    }
