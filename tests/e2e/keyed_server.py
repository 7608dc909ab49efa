"""One server with keys, tokens of an issuer, an audit log, gRPC and jobs, shared by four test modules."""

import base64
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from serve.runtime.keys_file import key_digest
from tests.conftest import Server, StartServer
from tests.e2e.own_server import own_server
from tests.local_bucket import environment_of, moto_server

KEY = "key-of-the-program"
"""With the roles ``predict`` and ``bulk``."""
CLINIC_KEY = "key-of-the-clinic"
"""With the role ``predict``."""
ISSUER, AUDIENCE = "https://login.example", "skinserve"
WEBHOOK_SECRET = bytes(range(32))
BUCKET = "clinic"
"""``photos`` in it is a source of jobs; a test creates it."""


@cache
def issuer_key() -> rsa.RSAPrivateKey:
    """Return the key that signs tokens, with ``"kid": "one"``."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass(frozen=True)
class KeyedServer:
    server: Server
    keys_file: Path
    audit_log: Path
    jobs_folder: Path
    s3_url: str
    """Endpoint of the server's buckets."""
    grpc_port: int

    @property
    def grpc_address(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    def audit_lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.audit_log.read_text(encoding="utf-8").splitlines()]

    def wait_for_audit_line(self, **fields: object) -> dict[str, object]:
        """Return the audit line with these values; a thread writes it after the answer."""
        until = time.monotonic() + 30
        while True:
            for line in self.audit_lines():
                if fields.items() <= line.items():
                    return line
            assert time.monotonic() < until, f"no line with {fields}"
            time.sleep(0.1)


@pytest.fixture(scope="session")
def keyed(
    start_server: StartServer, server_config: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KeyedServer]:
    """Start the server with two gateways; its page is open through the trusted proxy."""
    folder = tmp_path_factory.mktemp("keyed")
    published = {**RSAAlgorithm.to_jwk(issuer_key().public_key(), as_dict=True), "kid": "one"}
    (folder / "jwks.json").write_text(json.dumps({"keys": [published]}))
    content = {
        "keys": [
            {"name": "program", "sha256": key_digest(KEY), "roles": ["predict", "bulk"]},
            {"name": "clinic", "sha256": key_digest(CLINIC_KEY), "roles": ["predict"]},
        ],
        "jwt": {
            "issuer": ISSUER,
            "audience": AUDIENCE,
            "jwks": "jwks.json",
            "roles": {"doctor": ["predict"]},
        },
    }
    keys_file, audit_log, jobs_folder = folder / "keys.yaml", folder / "audit.log", folder / "jobs"
    keys_file.write_text(yaml.safe_dump(content))
    (folder / "webhook_secret").write_text("whsec_" + base64.b64encode(WEBHOOK_SECRET).decode())
    jobs = {
        "folder": str(jobs_folder),
        "sources": [f"s3://{BUCKET}/photos"],
        "webhook_secret_file": str(folder / "webhook_secret"),
        "webhook_networks": ["127.0.0.0/8"],
    }

    def change(api: dict[str, Any], page: dict[str, Any]) -> None:
        files = {"keys_file": str(keys_file), "audit_log": str(audit_log)}
        api["gateway"] |= {**files, "allowed_origins": [], "jobs": jobs}
        page["access"] = "proxy"

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--grpc-port", str(port)]
    with ExitStack() as running:
        s3_url = running.enter_context(moto_server())
        with environment_of(s3_url):
            own = own_server(
                *(start_server, server_config, folder, change),
                replicas={"Gateway": 2},
                has_page=True,
                options=options,
            )
            server = running.enter_context(own)
        yield KeyedServer(server, keys_file, audit_log, jobs_folder, s3_url, port)
