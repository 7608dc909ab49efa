"""List and remove folders by address: a local path or ``s3://bucket/key``."""

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from models.s3_client import s3_client
from models.storage import bucket_and_key, delete, is_remote, iter_items, list_files
from models.storage_errors import SCHEME, local_errors, s3_errors

_DELETES_AT_ONCE = 8


def delete_folder(address: str) -> None:
    """Remove a folder with all files below it; a missing one is ignored.

    Raises:
        StorageError: a file cannot be listed or removed.
    """
    if not is_remote(address):
        with local_errors(address, "removed"), contextlib.suppress(FileNotFoundError):
            shutil.rmtree(address)
        return
    with ThreadPoolExecutor(_DELETES_AT_ONCE, thread_name_prefix="delete") as threads:
        for _ in threads.map(delete, list_files(address)):  # not every store deletes many in one call
            pass


def list_folders(address: str) -> list[str]:
    """Return the sorted names of the folders directly in a folder; none for a missing folder.

    Raises:
        StorageError: the folder or the bucket cannot be listed.
    """
    if not is_remote(address):
        with local_errors(address, "listed"):
            if not os.path.isdir(address):
                return []
            with os.scandir(address) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir())
    bucket, prefix = bucket_and_key(address, needs_key=False)
    prefix = f"{prefix.rstrip('/')}/" if prefix.strip("/") else ""
    with s3_errors(address):
        lister = s3_client().get_paginator("list_objects_v2")
        pages = lister.paginate(Bucket=bucket, Prefix=prefix, Delimiter="/")
        found = [item["Prefix"] for page in pages for item in page.get("CommonPrefixes", ())]
    return sorted(name.removeprefix(prefix).rstrip("/") for name in found)


def iter_regular_files(address: str) -> Iterator[tuple[str, int]]:
    """Yield address and size in bytes of every file below a folder, in a fixed order, as they are listed.

    Links, devices and other special files of a local folder are ignored.

    Raises:
        MissingError: the local folder is missing.
        StorageError: the folder or the bucket cannot be listed.
    """
    if is_remote(address):
        bucket, _ = bucket_and_key(address, needs_key=False)
        for item in iter_items(address):
            yield f"{SCHEME}{bucket}/{item['Key']}", item["Size"]
        return
    with local_errors(address, "listed"):
        os.stat(address)
        for folder, folders, names in os.walk(address, onerror=_raise):
            folders.sort()
            for name in sorted(names):
                path = os.path.join(folder, name)
                with contextlib.suppress(FileNotFoundError):  # another process has just removed it
                    found = os.lstat(path)
                    if stat.S_ISREG(found.st_mode):
                        yield path, found.st_size


def _raise(error: OSError) -> None:
    raise error
