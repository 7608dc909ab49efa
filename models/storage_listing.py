"""List a folder or a bucket file by file, for folders of millions of files."""

import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from models.s3_client import s3_client
from models.storage import bucket_and_key, is_remote
from models.storage_errors import local_errors, s3_errors


class ListedFile(NamedTuple):
    """One file of a listing."""

    name: str
    """Relative to the folder; with ``/``."""
    num_bytes: int
    version: str
    """ETag of an object, time of the last change of a file; another text after a change."""


def iterate_files(folder: str) -> Iterator[ListedFile]:
    """Yield all files below a folder, always in the same order; none for a missing folder.

    Memory is bounded by the largest single folder, or by a page of a bucket's listing. Links to files are
    followed, links to folders are not; pipes, sockets and devices are left out. A file whose state cannot be
    read has 0 bytes.

    Raises:
        StorageError: the folder or the bucket cannot be listed.
    """
    if is_remote(folder):
        return _objects(folder)
    return _files(folder, "") if os.path.isdir(folder) else iter(())


def _objects(folder: str) -> Iterator[ListedFile]:
    bucket, prefix = bucket_and_key(folder, needs_key=False)
    prefix = f"{prefix.rstrip('/')}/" if prefix.strip("/") else ""
    with s3_errors(folder):
        for page in s3_client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for item in page.get("Contents", ()):
                if not item["Key"].endswith("/"):  # consoles store an empty object for a folder
                    name = item["Key"].removeprefix(prefix)
                    yield ListedFile(name, item["Size"], item["ETag"].strip('"'))


def _files(root: str, folder: str) -> Iterator[ListedFile]:
    path = os.path.join(root, folder)
    with local_errors(path, "listed"), os.scandir(path) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        name = f"{folder}/{entry.name}" if folder else entry.name
        if entry.is_dir(follow_symlinks=False):
            yield from _files(root, name)
            continue
        try:
            state = entry.stat()
        except OSError:  # a broken link, or the file was removed meanwhile
            yield ListedFile(name, 0, "")
            continue
        if stat.S_ISREG(state.st_mode):
            yield ListedFile(name, state.st_size, str(state.st_mtime_ns))
