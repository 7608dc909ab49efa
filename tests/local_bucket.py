"""A local S3 bucket: moto's server, and the environment of boto3 for it."""

import contextlib
from collections.abc import Iterator

import pytest
from moto.server import ThreadedMotoServer

from models.s3_client import reset_client, s3_client


@contextlib.contextmanager
def moto_server(ip_address: str = "127.0.0.1") -> Iterator[str]:
    """Run an S3 server on a free port and yield its URL."""
    server = ThreadedMotoServer(ip_address=ip_address, port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@contextlib.contextmanager
def s3_server(ip_address: str = "127.0.0.1") -> Iterator[str]:
    """Run an S3 server on a free port, configure boto3 for it, and yield its URL."""
    with moto_server(ip_address) as url, environment_of(url):
        yield url


@contextlib.contextmanager
def environment_of(endpoint: str, *, with_credentials: bool = True) -> Iterator[None]:
    """Configure boto3 for one endpoint, with test credentials or none."""
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
        reset_client()
        yield
    reset_client()


@contextlib.contextmanager
def new_bucket(name: str) -> Iterator[str]:
    """Create a bucket on the running server, yield its ``s3://`` address, and remove it."""
    client = s3_client()
    client.create_bucket(Bucket=name)
    try:
        yield f"s3://{name}"
    finally:
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=name):
            for item in page.get("Contents", ()):  # including the folder markers that Ray writes
                client.delete_object(Bucket=name, Key=item["Key"])
        client.delete_bucket(Bucket=name)
