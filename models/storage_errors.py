"""Translate errors of the file system and of S3 into ``StorageError``, with a message of one line."""

import contextlib
import errno
from collections.abc import Iterator
from typing import Any

from models.errors import SkinserveError

SCHEME = "s3://"
NUM_ATTEMPTS = 8
"""Attempts of one S3 request, with exponential backoff: about a minute in total."""
_DENIED = ("AccessDenied", "403", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken")


class StorageError(SkinserveError):
    """Report an address that cannot be read or written."""


class MissingError(StorageError):
    """Report a missing file, object, folder or bucket."""


@contextlib.contextmanager
def local_errors(address: str, verb: str) -> Iterator[None]:
    """Raise ``StorageError`` for an ``OSError``; the message says that ``address`` cannot be ``verb``."""
    try:
        yield
    except FileNotFoundError as error:
        raise MissingError(f"no file {address}; correct the path") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            message = f"no space is left on the disk for {address}; free some and run the command again"
        else:
            reason = (error.strerror or str(error)).lower()
            message = f"{address} cannot be {verb}: {reason}; correct that or the path"
        raise StorageError(message) from error


@contextlib.contextmanager
def s3_errors(address: str) -> Iterator[None]:
    """Raise ``StorageError`` for an error of boto3."""
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
        raise _storage_error(address, error) from error
    except boto3.exceptions.S3UploadFailedError as error:
        raise StorageError(f"{address} could not be uploaded: {_one_line(error)}") from error
    except (exceptions.BotoCoreError, boto3.exceptions.RetriesExceededError) as error:
        raise StorageError(
            f"{address} cannot be reached: {_one_line(error)}; check the network and AWS_ENDPOINT_URL"
        ) from error


def _storage_error(address: str, error: Any) -> StorageError:
    bucket = address.removeprefix(SCHEME).partition("/")[0]
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code == "NoSuchBucket":
        return MissingError(f"there is no bucket {bucket} for {address}; create it or correct the address")
    if code in ("NoSuchKey", "404", "NotFound"):
        return MissingError(f"there is no object {address}; correct the address")
    if code in _DENIED:
        return StorageError(
            f"access to {address} is denied ({code}); the credentials need s3:GetObject, s3:PutObject and "
            f"s3:ListBucket on {bucket}"
        )
    if status >= 500 or code == "SlowDown":
        return StorageError(f"{address}: S3 returned {status or code} {NUM_ATTEMPTS} times; try again later")
    return StorageError(f"{address}: {_one_line(error)}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
