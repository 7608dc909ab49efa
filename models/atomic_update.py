"""Change a small file with concurrent writers: lock files, or conditional writes in buckets."""

import contextlib
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from models.s3_client import s3_client
from models.storage import bucket_and_key, is_remote, read_bytes, write_bytes
from models.storage_errors import MissingError, StorageError, local_errors, s3_errors

LOCK_TIMEOUT_S = 60.0
MAX_ATTEMPTS = 20
"""Attempts of one update while other writers change the object."""
_CONFLICTS = ("412", "PreconditionFailed", "409", "ConditionalRequestConflict", "404", "NoSuchKey")
"""``NoSuchKey``: the object to be replaced was removed."""
_UNSUPPORTED = ("501", "NotImplemented")

Change = Callable[[bytes | None], bytes | None]
"""Return the new content of a file, or None to leave it, from the present content; None: no file."""


def update_file(address: str, change: Change) -> None:
    """Read a file, change it and write it; no concurrent update is lost.

    Args:
        address: of the file or object.
        change: called again with the newer content if another writer was faster.

    Raises:
        StorageError: the file cannot be read or written, the lock is held for too long, or the bucket has no
            conditional writes.
    """
    if is_remote(address):
        _update_object(address, change)
        return
    with local_errors(address, "written"):
        Path(address).parent.mkdir(parents=True, exist_ok=True)
    with file_lock(address):
        before = _content_of(address)
        after = change(before)
        if after is not None and after != before:
            write_bytes(address, after)


@contextlib.contextmanager
def file_lock(address: str) -> Iterator[None]:
    """Hold the lock of a local file, a hidden file beside it.

    The end of the process releases it.

    Raises:
        StorageError: the lock file cannot be written, or another process holds the lock for too long.
    """
    path = Path(address)
    lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=LOCK_TIMEOUT_S, mode=0o664)
    with local_errors(address, "locked"):
        try:
            lock.acquire()
            if os.geteuid() == 0:  # the user of the server locks it too
                owner = (path if path.exists() else path.parent).stat()
                os.chown(lock.lock_file, owner.st_uid, owner.st_gid)
        except Timeout as error:
            raise StorageError(
                f"another command has been writing {address} for {LOCK_TIMEOUT_S:.0f} s; wait for it or stop "
                "it, then run this command again"
            ) from error
    try:
        yield
    finally:
        lock.release()


def _content_of(address: str) -> bytes | None:
    try:
        return read_bytes(address)
    except MissingError:
        return None


def _update_object(address: str, change: Change) -> None:
    bucket, key = bucket_and_key(address)
    written: bytes | None = None
    for attempt in range(MAX_ATTEMPTS):
        before, tag = _object_and_tag(address, bucket, key)
        if written is not None and before == written:
            return  # the write succeeded, its response was lost, and boto3 sent it again
        after = change(before)
        if after is None or after == before:
            return
        if _put_if_unchanged(address, after, tag):
            return
        written = after
        time.sleep(random.uniform(0, 0.05 * 2 ** min(attempt, 5)))
    raise StorageError(
        f"{address} was changed by other writers {MAX_ATTEMPTS} times in a row; run the command again"
    )


def _object_and_tag(address: str, bucket: str, key: str) -> tuple[bytes | None, str | None]:
    try:
        with s3_errors(address):
            found = s3_client().get_object(Bucket=bucket, Key=key)
            with contextlib.closing(found["Body"]) as body:
                return body.read(), found["ETag"]
    except MissingError as error:
        if _is_missing_bucket(error):
            raise
        return None, None


def _is_missing_bucket(error: MissingError) -> bool:
    response = getattr(error.__cause__, "response", {})
    return response.get("Error", {}).get("Code") == "NoSuchBucket"


def _put_if_unchanged(address: str, content: bytes, tag: str | None) -> bool:
    """Write an object if its ETag is unchanged or it is still missing; return success."""
    from botocore.exceptions import ClientError

    bucket, key = bucket_and_key(address)
    condition = {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag}
    with s3_errors(address):
        try:
            s3_client().put_object(Bucket=bucket, Key=key, Body=content, **condition)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in _CONFLICTS:
                return False
            if code in _UNSUPPORTED:
                raise StorageError(
                    f"{address}: the store has no conditional writes ({code}), needed against lost updates; "
                    "use a store with If-Match on PutObject, or a registry in a folder"
                ) from error
            raise
    return True
