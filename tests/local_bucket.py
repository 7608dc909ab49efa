"""A bucket on this machine: moto's S3 server, and what boto3 needs to know of it."""

import contextlib
from collections.abc import Iterator

import pytest
from moto.server import ThreadedMotoServer

from models import storage


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """Run a server on a free port, let boto3 find it, and yield its address."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        with environment_of(f"http://{host}:{port}"):
            yield f"http://{host}:{port}"
    finally:
        server.stop()


@contextlib.contextmanager
def environment_of(endpoint: str, *, with_credentials: bool = True) -> Iterator[None]:
    """Let boto3 talk to an endpoint, with no credentials but those that are given here."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_CONFIG_FILE", "/dev/null")
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", endpoint)
        if with_credentials:
            patch.setenv("AWS_ACCESS_KEY_ID", "testing")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        storage.forget_client()
        yield
    storage.forget_client()


@contextlib.contextmanager
def new_bucket(name: str) -> Iterator[str]:
    """Make an empty bucket on the running server, and yield its ``s3://`` address."""
    client = storage._client()
    client.create_bucket(Bucket=name)
    try:
        yield f"s3://{name}"
    finally:
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=name):
            for item in page.get("Contents", ()):  # the markers of folders, which Ray writes, included
                client.delete_object(Bucket=name, Key=item["Key"])
        client.delete_bucket(Bucket=name)
