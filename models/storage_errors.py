"""Translate errors of the file system and of S3 into ``StorageError``, with a message of one line."""

import contextlib
import errno
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from models.errors import SkinserveError
from models.s3_client import NUM_ATTEMPTS, has_credentials

SCHEME = "s3://"
MAX_CLOCK_SKEW_S = 300
"""AWS rejects a signature of another time: Comprehend and other services above 5 minutes, S3 above 15."""
_DENIED = (
    *("AccessDenied", "401", "403", "Forbidden", "Unauthorized", "InvalidAccessKeyId"),
    *("SignatureDoesNotMatch", "ExpiredToken", "AllAccessDisabled"),
)
_CLOCK_CODES = ("RequestTimeTooSkewed", "InvalidSignatureException", "SignatureDoesNotMatch")
_BUCKET_MUST_BE_IN_HOST = (
    "SecondLevelDomainForbidden",
    "VirtualHostDomainRequired",
    "PathStyleDomainForbidden",
)
"""Of Alibaba Cloud, Huawei Cloud and Tencent Cloud."""


class StorageError(SkinserveError):
    """Report an address that cannot be read or written."""


class MissingError(StorageError):
    """Report a missing file, object, folder or bucket."""


class MissingBucketError(MissingError):
    """Report a missing bucket."""


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
        if isinstance(error.__context__, exceptions.ClientError):
            raise _storage_error(address, error.__context__) from error
        raise StorageError(f"{address} could not be uploaded: {_one_line(error)}") from error
    except (exceptions.BotoCoreError, boto3.exceptions.RetriesExceededError) as error:
        raise StorageError(
            f"{address} cannot be reached: {_one_line(error)}; check the network and AWS_ENDPOINT_URL"
        ) from error


def _storage_error(address: str, error: Any) -> StorageError:
    bucket = address.removeprefix(SCHEME).partition("/")[0]
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if skew := clock_skew(error):
        return StorageError(f"{address}: the request was rejected ({code}) because {skew}")
    if code == "NoSuchBucket":
        return MissingBucketError(
            f"there is no bucket {bucket} for {address}; create it or correct the address"
        )
    if code in ("NoSuchKey", "404", "NotFound"):
        return MissingError(f"there is no object {address}; correct the address")
    if code in _DENIED:
        return StorageError(_denied(address, bucket, code))
    if code in _BUCKET_MUST_BE_IN_HOST:
        return StorageError(
            f"{address}: the store wants the bucket in the host name ({code}); run: "
            "aws configure set default.s3.addressing_style virtual"
        )
    if status >= 500 or code == "SlowDown":
        return StorageError(f"{address}: S3 returned {status or code} {NUM_ATTEMPTS} times; try again later")
    return StorageError(f"{address}: {_one_line(error)}")


def clock_skew(error: Any) -> str:
    """Describe a wrong clock of this machine, for which AWS rejected a signature.

    Args:
        error: ``ClientError`` of boto3. The answer to a HEAD request has no error code, only status and date.

    Returns:
        A clause for a message; an empty string for another cause.
    """
    metadata = error.response.get("ResponseMetadata", {})
    code = str(error.response.get("Error", {}).get("Code", ""))
    if code not in _CLOCK_CODES and metadata.get("HTTPStatusCode") not in (401, 403):
        return ""
    try:
        theirs = parsedate_to_datetime(metadata.get("HTTPHeaders", {}).get("date", ""))
        off_s = (datetime.now(UTC) - theirs).total_seconds()
    except (TypeError, ValueError):
        off_s = 0.0
    if abs(off_s) > MAX_CLOCK_SKEW_S:
        clock = f"{abs(off_s) / 60:,.0f} minutes {'ahead' if off_s > 0 else 'behind'}"
    elif code == "RequestTimeTooSkewed":
        clock = "wrong"
    else:
        return ""
    return f"this machine's clock is {clock}; set it, for instance with: timedatectl set-ntp true"


def _denied(address: str, bucket: str, code: str) -> str:
    if not has_credentials():
        return (
            f"no AWS credentials for {address}, and {bucket} does not allow this without them ({code}); "
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run on a machine "
            "with a role"
        )
    return (
        f"access to {address} is denied ({code}); the credentials need s3:GetObject, s3:PutObject and "
        f"s3:ListBucket on {bucket}"
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
