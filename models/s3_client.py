"""The S3 client of this process, for AWS and S3-compatible stores.

boto3 is imported at the first use. It reads credentials, region, ``AWS_ENDPOINT_URL`` and the addressing
style from the environment or the AWS configuration files.
"""

import functools
import threading
from typing import Any, NamedTuple

NUM_ATTEMPTS = 8
"""Attempts of one S3 request, with exponential backoff: about a minute in total."""
NUM_CONNECTIONS = 64
_CLIENT_LOCK = threading.Lock()


class _Opened(NamedTuple):
    client: Any
    has_credentials: bool


def s3_client() -> Any:
    """Return the client, made at the first call."""
    return _opened().client


def has_credentials() -> bool:
    """Check whether the client signs its requests; without credentials it can read public buckets only."""
    return _opened().has_credentials


def reset_client() -> None:
    """Drop the client, so that the next one reads the environment again; for tests."""
    _open.cache_clear()


def _opened() -> _Opened:
    with _CLIENT_LOCK:  # creating a client is slow and not thread-safe; using one is thread-safe
        return _open()


@functools.cache
def _open() -> _Opened:
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config

    session = boto3.Session()  # the default session would keep old credentials
    signed = session.get_credentials() is not None
    config = Config(
        retries={"mode": "standard", "total_max_attempts": NUM_ATTEMPTS},
        max_pool_connections=NUM_CONNECTIONS,
        connect_timeout=10,
        read_timeout=60,
        # S3-compatible stores reject or lack the newer checksums
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        **({} if signed else {"signature_version": UNSIGNED}),
    )
    return _Opened(session.client("s3", config=config), signed)
