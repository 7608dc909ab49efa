"""Read and write files by address: a local path or ``s3://bucket/key``.

Every error is a ``StorageError``. boto3 is imported at the first ``s3://`` address (``models/s3_client.py``).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from models.s3_client import s3_client
from models.storage_errors import SCHEME, MissingError, StorageError, local_errors, s3_errors

NUM_BODY_ATTEMPTS = 3
"""Attempts to read one object whose body ends early."""


def is_remote(address: str) -> bool:
    """Check whether an address is in a bucket."""
    return address.startswith(SCHEME)


def join(folder: str, name: str) -> str:
    """Return the address of ``name`` in a folder; return an S3 address or absolute path unchanged."""
    if is_remote(name) or os.path.isabs(name):
        return name
    return f"{folder.rstrip('/')}/{name}" if is_remote(folder) else os.path.join(folder, name)


def parent(address: str) -> str:
    """Return the address of a file's folder."""
    return address.rpartition("/")[0] if is_remote(address) else (os.path.dirname(address) or ".")


def read_bytes(address: str, *, max_bytes: int | None = None) -> bytes:
    """Return the content of a file or an object.

    Args:
        max_bytes: at most one byte more is read; None: no limit.

    Raises:
        MissingError: there is no such file or object.
        StorageError: it cannot be read.
    """
    limit = None if max_bytes is None else max_bytes + 1
    if not is_remote(address):
        with local_errors(address, "read"), open(address, "rb") as file:
            return file.read() if limit is None else file.read(limit)
    bucket, key = bucket_and_key(address)
    with s3_errors(address):
        return _read_object(bucket, key, limit)


def write_bytes(address: str, content: bytes, *, mode: int = 0o666) -> None:
    """Write a file or an object atomically: readers see the old content or the new one.

    Args:
        mode: of a file, less the umask.

    Raises:
        StorageError: it cannot be written.
    """
    if is_remote(address):
        bucket, key = bucket_and_key(address)
        with s3_errors(address):
            s3_client().put_object(Bucket=bucket, Key=key, Body=content)
        return
    path = Path(address)
    with local_errors(address, "written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}")
        try:
            with open(
                scratch, "xb", opener=partial(os.open, mode=mode)
            ) as file:  # tempfile ignores the umask
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(scratch, path)
        finally:
            scratch.unlink(missing_ok=True)


def exists(address: str) -> bool:
    """Check whether there is a file or an object at an address.

    Raises:
        StorageError: the bucket cannot be accessed.
    """
    if not is_remote(address):
        return os.path.isfile(address)
    bucket, key = bucket_and_key(address, needs_key=False)
    if not key or key.endswith("/"):  # a folder; consoles of S3 store an empty object under its name
        return False
    try:
        with s3_errors(address):
            s3_client().head_object(Bucket=bucket, Key=key)
    except MissingError:
        return False
    return True


def delete(address: str) -> None:
    """Remove a file or an object; a missing one is ignored.

    Raises:
        StorageError: it cannot be removed.
    """
    if not is_remote(address):
        with local_errors(address, "removed"):
            Path(address).unlink(missing_ok=True)
        return
    bucket, key = bucket_and_key(address)
    with s3_errors(address):
        s3_client().delete_object(Bucket=bucket, Key=key)


def list_files(address: str) -> list[str]:
    """Return the sorted addresses of all files below a folder; none for a missing folder.

    Raises:
        StorageError: the folder or the bucket cannot be listed.
    """
    if is_remote(address):
        bucket, _ = bucket_and_key(address, needs_key=False)
        return [f"{SCHEME}{bucket}/{key}" for key, _ in _objects(address)]
    with local_errors(address, "listed"):
        if not os.path.isdir(address):
            return []
        return sorted(os.path.join(folder, name) for folder, _, names in os.walk(address) for name in names)


def list_sizes(address: str) -> list[int]:
    """Return the size in bytes of every file below a folder; none for a missing folder.

    Raises:
        StorageError: the folder or the bucket cannot be listed.
    """
    if is_remote(address):
        return [item["Size"] for item in _items(address)]
    sizes = []
    with local_errors(address, "listed"):
        for folder, _, names in os.walk(address):
            for name in names:
                with contextlib.suppress(FileNotFoundError):  # another process has just removed it
                    sizes.append(os.stat(os.path.join(folder, name)).st_size)
    return sizes


def fetch_folder(address: str, cache: Path) -> Path:
    """Download an ``s3://`` folder into ``cache`` and return its path; return a local folder unchanged.

    An unchanged folder is downloaded once. Concurrent processes see complete folders only.

    Raises:
        MissingError: the folder is missing or empty.
        StorageError: it cannot be downloaded.
    """
    if not is_remote(address):
        if not os.path.isdir(address):
            raise MissingError(f"no folder {address}; correct the path")
        return Path(address)
    objects = _objects(address)
    if not objects:
        raise MissingError(f"there are no objects under {address}; correct the address")
    bucket, prefix = bucket_and_key(address, needs_key=False)
    prefix = prefix.rstrip("/")
    state = hashlib.sha256("\n".join(f"{bucket}/{key} {tag}" for key, tag in objects).encode())
    folder = cache / f"{(prefix or bucket).rpartition('/')[2]}-{state.hexdigest()[:16]}"
    if folder.is_dir():
        return folder
    with local_errors(str(cache), "written"):
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=cache) as scratch:
            complete = Path(scratch, "complete")
            for key, _ in objects:
                name = key.removeprefix(prefix).lstrip("/")
                if ".." in name.split("/"):
                    raise StorageError(f"{SCHEME}{bucket}/{key} points outside its folder; rename it")
                _download(bucket, key, complete / name)
            with contextlib.suppress(OSError):  # another process has stored the same folder
                complete.rename(folder)
        if not folder.is_dir():
            raise StorageError(f"{address} cannot be moved to {folder}; remove the file of that name")
    return folder


def upload_folder(folder: Path, address: str) -> None:
    """Copy all files of a local folder into a bucket or another local folder.

    Raises:
        MissingError: the local folder is missing.
        StorageError: the target cannot be written.
    """
    if not folder.is_dir():
        raise MissingError(f"no folder {folder}; correct the path")
    for file in list_files(str(folder)):
        upload_file(Path(file), join(address, Path(file).relative_to(folder).as_posix()))


def upload_file(path: Path, address: str) -> None:
    """Copy a local file to another path or into a bucket, atomically.

    Raises:
        MissingError: the local file is missing.
        StorageError: the target cannot be written.
    """
    if not is_remote(address):
        write_bytes(address, read_bytes(str(path)))
        return
    bucket, key = bucket_and_key(address)
    with s3_errors(address):
        s3_client().upload_file(str(path), bucket, key)


def _objects(address: str) -> list[tuple[str, str]]:
    """Return key and ETag of every object in a folder of a bucket, sorted."""
    return sorted((item["Key"], item["ETag"]) for item in _items(address))


def _items(address: str) -> list[dict[str, Any]]:
    """Return what S3 lists of every object in a folder of a bucket."""
    return list(iter_items(address))


def iter_items(address: str) -> Iterator[dict[str, Any]]:
    """Yield what S3 lists of every object in a folder of a bucket, a page at a time; raise StorageError."""
    bucket, prefix = bucket_and_key(address, needs_key=False)
    prefix = f"{prefix.rstrip('/')}/" if prefix.strip("/") else ""
    with s3_errors(address):
        pages = s3_client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        for page in pages:
            yield from (item for item in page.get("Contents", ()) if not item["Key"].endswith("/"))


def _read_object(bucket: str, key: str, num_bytes: int | None = None) -> bytes:
    """Read one object, again if its body ends early, which botocore does not retry.

    ``download_fileobj`` retries too, but its extra HEAD request doubles the time of a photo.
    """
    from botocore import exceptions

    for attempt in range(1, NUM_BODY_ATTEMPTS + 1):
        with contextlib.closing(s3_client().get_object(Bucket=bucket, Key=key)["Body"]) as body:
            try:
                return body.read(num_bytes)
            except (
                exceptions.IncompleteReadError,
                exceptions.ReadTimeoutError,
                exceptions.ResponseStreamingError,
            ):
                if attempt == NUM_BODY_ATTEMPTS:
                    raise
    raise AssertionError("unreachable")


def _download(bucket: str, key: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with s3_errors(f"{SCHEME}{bucket}/{key}"):
        s3_client().download_file(bucket, key, str(path))


def bucket_and_key(address: str, *, needs_key: bool = True) -> tuple[str, str]:
    """Split an S3 address.

    Raises:
        StorageError: it names no bucket or, if needed, no key.
    """
    bucket, _, key = address.removeprefix(SCHEME).partition("/")
    if not bucket or (needs_key and not key):
        raise StorageError(f"{address} is no S3 address; it has the form s3://bucket/key")
    return bucket, key
