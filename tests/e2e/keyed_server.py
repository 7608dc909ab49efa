"""One server with keys, tokens of an issuer, gRPC and an open page, shared by two test modules."""

import json
import socket
from collections.abc import Iterator
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

KEY = "key-of-the-program"
"""With the roles ``predict`` and ``bulk``."""
ISSUER, AUDIENCE = "https://login.example", "skinserve"


@cache
def issuer_key() -> rsa.RSAPrivateKey:
    """Return the key that signs tokens, with ``"kid": "one"``."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass(frozen=True)
class KeyedServer:
    server: Server
    keys_file: Path
    grpc_port: int

    @property
    def grpc_address(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"


@pytest.fixture(scope="session")
def keyed(
    start_server: StartServer, server_config: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KeyedServer]:
    """Start the server; its page is open to everybody."""
    folder = tmp_path_factory.mktemp("keyed")
    published = {**RSAAlgorithm.to_jwk(issuer_key().public_key(), as_dict=True), "kid": "one"}
    (folder / "jwks.json").write_text(json.dumps({"keys": [published]}))
    content = {
        "keys": [{"name": "program", "sha256": key_digest(KEY), "roles": ["predict", "bulk"]}],
        "jwt": {
            "issuer": ISSUER,
            "audience": AUDIENCE,
            "jwks": "jwks.json",
            "roles": {"doctor": ["predict"]},
        },
    }
    keys_file = folder / "keys.yaml"
    keys_file.write_text(yaml.safe_dump(content))

    def change(api: dict[str, Any], page: dict[str, Any]) -> None:
        api["gateway"] |= {"keys_file": str(keys_file), "allowed_origins": []}
        page["access"] = "open"

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--grpc-port", str(port)]
    with own_server(start_server, server_config, folder, change, has_page=True, options=options) as server:
        yield KeyedServer(server=server, keys_file=keys_file, grpc_port=port)
