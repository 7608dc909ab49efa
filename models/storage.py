"""Files in a local folder or in a bucket, by address: a path, or ``s3://bucket/key``.

Every error is a ``StorageError`` of one line that says what was asked for and what to do. boto3 is imported
when the first ``s3://`` address is used; credentials, region and ``AWS_ENDPOINT_URL`` it finds by itself.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.errors import SkinserveError

NUM_ATTEMPTS = 8
"""Of every S3 request, with growing pauses in between: about a minute of trouble is survived."""
_NUM_BODY_ATTEMPTS = 3
_NUM_CONNECTIONS = 64
_SCHEME = "s3://"
_CLIENT_LOCK = threading.Lock()


class StorageError(SkinserveError):
    """An address that cannot be read or written; the message says why and what to do."""


class MissingError(StorageError):
    """There is no such file or object."""


def is_remote(address: str) -> bool:
    """Whether an address is in a bucket."""
    return address.startswith(_SCHEME)


def join(folder: str, name: str) -> str:
    """Return the address of ``name`` in a folder; an address or an absolute path stays as it is."""
    if is_remote(name) or os.path.isabs(name):
        return name
    return f"{folder.rstrip('/')}/{name}" if is_remote(folder) else os.path.join(folder, name)


def parent(address: str) -> str:
    """Return the address of the folder that a file is in."""
    return address.rpartition("/")[0] if is_remote(address) else (os.path.dirname(address) or ".")


def read_bytes(address: str) -> bytes:
    """Return the content of a file or an object.

    Raises:
        MissingError: it is not there.
        StorageError: it cannot be had for another reason.
    """
    if not is_remote(address):
        with _local_errors(address, "read"):
            return Path(address).read_bytes()
    bucket, key = _bucket_and_key(address)
    with _remote_errors(address):
        return _read_object(bucket, key)


def write_bytes(address: str, content: bytes) -> None:
    """Write a file or an object as a whole: a reader finds the old content or the new, never a part.

    Raises:
        StorageError: no space, no permission, no bucket, no credentials.
    """
    if is_remote(address):
        bucket, key = _bucket_and_key(address)
        with _remote_errors(address):
            _client().put_object(Bucket=bucket, Key=key, Body=content)
        return
    path = Path(address)
    with _local_errors(address, "written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(scratch, 0o666 & ~_umask())
            os.replace(scratch, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(scratch)
            raise


def exists(address: str) -> bool:
    """Whether there is a file or an object of that address.

    Raises:
        StorageError: the bucket cannot be asked.
    """
    if not is_remote(address):
        return os.path.isfile(address)
    bucket, key = _bucket_and_key(address)
    try:
        with _remote_errors(address):
            _client().head_object(Bucket=bucket, Key=key)
    except MissingError:
        return False
    return True


def delete(address: str) -> None:
    """Remove a file or an object; one that is not there is no error.

    Raises:
        StorageError: it is there and cannot be removed.
    """
    if not is_remote(address):
        with _local_errors(address, "removed"):
            Path(address).unlink(missing_ok=True)
        return
    bucket, key = _bucket_and_key(address)
    with _remote_errors(address):
        _client().delete_object(Bucket=bucket, Key=key)


def list_files(address: str) -> list[str]:
    """Return the addresses of all files in a folder and deeper, sorted; none if there is no such folder.

    Raises:
        StorageError: the folder or the bucket cannot be listed.
    """
    if is_remote(address):
        bucket, _ = _bucket_and_key(address, needs_key=False)
        return [f"{_SCHEME}{bucket}/{key}" for key, _ in _objects(address)]
    with _local_errors(address, "listed"):
        if not os.path.isdir(address):
            return []
        return sorted(os.path.join(folder, name) for folder, _, names in os.walk(address) for name in names)


def fetch_folder(address: str, cache: Path) -> Path:
    """Return a local folder with the files of an ``s3://`` folder; a local folder is returned as it is.

    What was fetched once is taken from ``cache`` as long as the bucket holds the same. Processes may race:
    each sees a whole folder.

    Raises:
        MissingError: there is no such folder, or it is empty.
    """
    if not is_remote(address):
        if not os.path.isdir(address):
            raise MissingError(f"no folder {address}; correct the path")
        return Path(address)
    objects = _objects(address)
    if not objects:
        raise MissingError(f"nothing is stored under {address}; correct the address")
    bucket, prefix = _bucket_and_key(address, needs_key=False)
    prefix = prefix.rstrip("/")
    state = hashlib.sha256("\n".join(f"{bucket}/{key} {tag}" for key, tag in objects).encode())
    folder = cache / f"{(prefix or bucket).rpartition('/')[2]}-{state.hexdigest()[:16]}"
    if folder.is_dir():
        return folder
    with _local_errors(str(cache), "written"):
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetching-", dir=cache) as scratch:
            for key, _ in objects:
                name = key.removeprefix(prefix).lstrip("/")
                if ".." in name.split("/"):
                    raise StorageError(f"{_SCHEME}{bucket}/{key} would lie outside of its folder; rename it")
                write_bytes(os.path.join(scratch, "whole", name), read_bytes(f"{_SCHEME}{bucket}/{key}"))
            with contextlib.suppress(OSError):  # another process was faster: its folder is the same
                os.rename(os.path.join(scratch, "whole"), folder)
        if not folder.is_dir():
            raise StorageError(f"{address} could not be put into {folder}; remove what stands there")
    return folder


def upload_folder(folder: Path, address: str) -> None:
    """Copy all files of a local folder into a folder of a bucket, or into another local folder.

    Raises:
        MissingError: there is no such local folder.
        StorageError: the target cannot be written.
    """
    if not folder.is_dir():
        raise MissingError(f"no folder {folder}; correct the path")
    for file in list_files(str(folder)):
        target = join(address, Path(file).relative_to(folder).as_posix())
        if not is_remote(target):
            write_bytes(target, read_bytes(file))
            continue
        bucket, key = _bucket_and_key(target)
        with _remote_errors(target):
            _client().upload_file(file, bucket, key)


def forget_client() -> None:
    """Make the next request with a new client, from the credentials and the endpoint of that moment."""
    _new_client.cache_clear()


def _client() -> Any:
    with _CLIENT_LOCK:  # making clients is not thread-safe, using one is
        return _new_client()


@functools.cache
def _new_client() -> Any:
    import boto3
    from botocore.config import Config

    config = Config(
        retries={"mode": "standard", "total_max_attempts": NUM_ATTEMPTS},
        max_pool_connections=_NUM_CONNECTIONS,
        connect_timeout=10,
        read_timeout=60,
    )
    return boto3.Session().client("s3", config=config)  # the default session would keep old credentials


def _objects(address: str) -> list[tuple[str, str]]:
    """Return key and ETag of every object in a folder of a bucket, sorted."""
    bucket, prefix = _bucket_and_key(address, needs_key=False)
    prefix = f"{prefix.rstrip('/')}/" if prefix.strip("/") else ""
    with _remote_errors(address):
        pages = _client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        found = [(item["Key"], item["ETag"]) for page in pages for item in page.get("Contents", ())]
    return sorted(item for item in found if not item[0].endswith("/"))


def _read_object(bucket: str, key: str) -> bytes:
    """Read a whole object; a body that breaks off is asked for again, which botocore does not do itself."""
    from botocore import exceptions

    for attempt in range(1, _NUM_BODY_ATTEMPTS + 1):
        body = _client().get_object(Bucket=bucket, Key=key)["Body"]
        try:
            return body.read()
        except (
            exceptions.IncompleteReadError,
            exceptions.ReadTimeoutError,
            exceptions.ResponseStreamingError,
        ):
            if attempt == _NUM_BODY_ATTEMPTS:
                raise
        finally:
            body.close()
    raise AssertionError("the last attempt returns or raises")


def _bucket_and_key(address: str, *, needs_key: bool = True) -> tuple[str, str]:
    bucket, _, key = address.removeprefix(_SCHEME).partition("/")
    if not bucket or (needs_key and not key):
        raise StorageError(f"{address} is no address in a bucket; it has the form s3://bucket/key")
    return bucket, key


@contextlib.contextmanager
def _local_errors(address: str, what: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise MissingError(f"no file {address}; correct the path") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            message = f"no space is left on the disk for {address}; make room and run the command again"
        else:
            reason = (error.strerror or str(error)).lower()
            message = f"{address} cannot be {what}: {reason}; correct that or the path"
        raise StorageError(message) from error


_REFUSED = ("AccessDenied", "403", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken")


@contextlib.contextmanager
def _remote_errors(address: str) -> Iterator[None]:
    import boto3.exceptions
    from botocore import exceptions

    try:
        yield
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
        raise StorageError(
            f"no AWS credentials for {address}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
            "AWS_PROFILE, or run on a machine with a role"
        ) from error
    except exceptions.ClientError as error:
        raise _explained(address, error) from error
    except boto3.exceptions.S3UploadFailedError as error:
        raise StorageError(f"{address} could not be uploaded: {_one_line(error)}") from error
    except exceptions.BotoCoreError as error:
        raise StorageError(
            f"{address} cannot be reached: {_one_line(error)}; check the network and AWS_ENDPOINT_URL"
        ) from error


def _explained(address: str, error: Any) -> StorageError:
    bucket = address.removeprefix(_SCHEME).partition("/")[0]
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code == "NoSuchBucket":
        return MissingError(f"there is no bucket {bucket} for {address}; make it or correct the address")
    if code in ("NoSuchKey", "404", "NotFound"):
        return MissingError(f"there is no object {address}; correct the address")
    if code in _REFUSED:
        return StorageError(
            f"access to {address} is refused ({code}); the credentials need s3:GetObject, s3:PutObject and "
            f"s3:ListBucket on {bucket}"
        )
    if status >= 500 or code == "SlowDown":
        return StorageError(
            f"{address}: the bucket answered {status or code} {NUM_ATTEMPTS} times; try again later"
        )
    return StorageError(f"{address}: {_one_line(error)}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


def _umask() -> int:
    """Return the process's mask of file permissions; reading it means setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
