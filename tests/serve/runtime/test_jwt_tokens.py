import asyncio
import base64
import hashlib
import hmac
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from serve.runtime import jwt_tokens
from serve.runtime.errors import ApiError
from serve.runtime.jwt_tokens import JwtVerifier
from serve.runtime.keys_file import JwtSettings

ISSUER, AUDIENCE = "https://login.example", "skinserve"
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
SHORT_KEY = rsa.generate_private_key(public_exponent=65537, key_size=1024)


def published(**keys: Any) -> dict[str, Any]:
    """The issuer's key set, by key id."""
    jwks = []
    for key_id, key in keys.items():
        algorithm: Any = ECAlgorithm if isinstance(key, ec.EllipticCurvePrivateKey) else RSAAlgorithm
        jwks.append({**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": key_id, "use": "sig"})
    return {"keys": jwks}


def token(key: Any = RSA_KEY, key_id: str | None = "rsa", algorithm: str = "RS256", **changes: Any) -> str:
    """A token of Dr Ada that expires in a minute; a claim that is None is left out."""
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "ada",
        "roles": ["doctor"],
        "exp": time.time() + 60,
        **changes,
    }
    headers = {"kid": key_id} if key_id else None
    kept = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(kept, key, algorithm, headers=headers)


def settings_of(**changes: Any) -> JwtSettings:
    roles = {"doctor": ["predict"], "boss": ["admin"]}
    settings = {"issuer": ISSUER, "audience": AUDIENCE, "jwks": "jwks.json", "roles": roles, **changes}
    return JwtSettings.model_validate(settings)


@pytest.fixture
def verifier(tmp_path: Path) -> JwtVerifier:
    (tmp_path / "jwks.json").write_text(json.dumps(published(rsa=RSA_KEY, ec=EC_KEY)))
    return JwtVerifier(settings_of(), tmp_path)


async def error_of(verifier: JwtVerifier, text: str) -> str:
    with pytest.raises(ApiError) as caught:
        await verifier.caller(text)
    assert caught.value.code == "unauthorized"
    return str(caught.value)


async def test_a_token_gives_the_subject_and_its_roles(verifier: JwtVerifier):
    by_rsa = await verifier.caller(token())
    by_ec = await verifier.caller(token(EC_KEY, "ec", "ES256", sub="bo", roles="boss other"))

    assert (by_rsa.name, by_rsa.roles) == ("jwt:ada", {"predict"})
    assert (by_ec.name, by_ec.roles) == ("jwt:bo", {"admin"})


@pytest.mark.parametrize(
    ("name", "claims", "expected"),
    [
        ("realm_access.roles", {"roles": None, "realm_access": {"roles": ["boss"]}}, {"admin"}),
        ("https://x.example/roles", {"roles": None, "https://x.example/roles": ["boss"]}, {"admin"}),
        ("roles", {"roles": ["unknown"]}, set()),
        ("roles", {"roles": None}, set()),
        ("roles", {"roles": {"boss": True}}, set()),
        ("roles", {"roles": [{"boss": True}, 7, None]}, set()),
        ("a.b.c", {"a": {"b": "text"}}, set()),
    ],
)
async def test_roles_are_read_from_a_claim(
    tmp_path: Path, name: str, claims: Mapping[str, Any], expected: set[str]
):
    (tmp_path / "jwks.json").write_text(json.dumps(published(rsa=RSA_KEY)))
    verifier = JwtVerifier(settings_of(roles_claim=name), tmp_path)

    assert (await verifier.caller(token(**claims))).roles == expected


def unsigned() -> str:
    return jwt.encode({"iss": ISSUER, "aud": AUDIENCE, "sub": "a", "exp": time.time() + 60}, "", "none")


def signed_with_the_public_key() -> str:
    """HMAC with the published key as its secret: accepted by servers that trust the token's algorithm."""
    secret = json.dumps(published(rsa=RSA_KEY)["keys"][0]).encode()
    parts = ({"alg": "HS256", "kid": "rsa"}, {"iss": ISSUER, "aud": AUDIENCE, "sub": "a", "exp": 9e9})
    content = ".".join(_base64(json.dumps(part).encode()) for part in parts)
    return f"{content}.{_base64(hmac.digest(secret, content.encode(), hashlib.sha256))}"


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def tampered() -> str:
    header, _, signature = token().split(".")
    return f"{header}.{token(roles=['boss']).split('.')[1]}.{signature}"


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: token(exp=time.time() - 61), "has expired"),
        (lambda: token(exp=None), "needs the claims"),
        (lambda: token(sub=None), "needs the claims"),
        (lambda: token(iss=None), "needs the claims|issuer"),
        (lambda: token(aud=None), "needs the claims|audience"),
        (lambda: token(aud="other"), "another audience"),
        (lambda: token(iss="https://evil.example"), "another issuer"),
        (lambda: token(nbf=time.time() + 90), "clock"),
        (lambda: token(iat=time.time() + 90), "clock"),
        (lambda: token(OTHER_KEY), "wrong signature"),
        (lambda: token(OTHER_KEY, "other"), "does not publish"),
        (lambda: token(key_id=None), "does not publish"),
        (lambda: token(algorithm="PS256"), "not valid"),
        (lambda: token(exp=1e400), "not valid|expired"),
        (lambda: token(sub="a\nb"), "printable"),
        (lambda: token(sub=""), "printable"),
        (lambda: token(sub="a" * 201), "printable"),
        (unsigned, "algorithm 'none'"),
        (signed_with_the_public_key, "algorithm 'HS256'"),
        (tampered, "wrong signature"),
        (lambda: token() + "x", "not valid|wrong signature"),
        (lambda: "a.b.c", "not valid"),
        (lambda: "..", "not valid"),
        (lambda: _base64(b"[" * 9000) + ".e30.AA", "not valid"),
    ],
)
async def test_a_wrong_token_is_rejected_with_the_reason(
    verifier: JwtVerifier, make: Callable[[], str], match: str
):
    text = make()

    message = await error_of(verifier, text)

    assert re.search(match, message), message
    assert "\n" not in message and text not in message


async def test_clocks_may_differ_by_a_minute(verifier: JwtVerifier):
    assert await verifier.caller(token(exp=time.time() - 30, nbf=time.time() + 30))


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
async def test_a_short_key_of_the_issuer_is_not_accepted(tmp_path: Path):
    (tmp_path / "jwks.json").write_text(json.dumps(published(short=SHORT_KEY)))

    assert "not valid" in await error_of(JwtVerifier(settings_of(), tmp_path), token(SHORT_KEY, "short"))


async def test_a_secret_among_the_issuers_keys_is_ignored(tmp_path: Path):
    secret = {"kty": "oct", "kid": "secret", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"}
    keys = published(rsa=RSA_KEY)
    keys["keys"].append(secret)
    (tmp_path / "jwks.json").write_text(json.dumps(keys))
    verifier = JwtVerifier(settings_of(), tmp_path)

    forged = token(b"secret-secret-secret-secret-1234", "secret", "HS256")

    assert "algorithm 'HS256'" in await error_of(verifier, forged)
    assert await verifier.caller(token())


# --- keys of an issuer by HTTP ---


class Issuer(ThreadingHTTPServer):
    """Publish keys; count the requests, or fail."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.keys = published(rsa=RSA_KEY)
        self.status = 200
        self.num_requests = 0


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Issuer)
        self.server.num_requests += 1
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(json.dumps(self.server.keys).encode())

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def remote(issuer: Issuer, tmp_path: Path) -> JwtVerifier:
    return JwtVerifier(settings_of(jwks=f"http://127.0.0.1:{issuer.server_port}/jwks.json"), tmp_path)


async def test_keys_are_fetched_once_for_many_requests(remote: JwtVerifier, issuer: Issuer):
    await asyncio.gather(*(remote.caller(token()) for _ in range(50)))

    assert issuer.num_requests == 1


async def test_tokens_with_unknown_keys_cost_the_issuer_one_request(remote: JwtVerifier, issuer: Issuer):
    await remote.caller(token())

    for number in range(20):
        await error_of(remote, token(OTHER_KEY, f"random-{number}"))

    assert issuer.num_requests == 1


async def test_a_new_key_of_the_issuer_is_fetched_after_the_pause(
    remote: JwtVerifier, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
):
    await remote.caller(token())
    issuer.keys = published(new=OTHER_KEY)
    monkeypatch.setattr(jwt_tokens, "MIN_PAUSE_S", 0)

    assert await remote.caller(token(OTHER_KEY, "new"))
    assert "does not publish" in await error_of(remote, token())


async def test_the_last_keys_stay_in_force_while_the_issuer_fails(
    remote: JwtVerifier, issuer: Issuer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    await remote.caller(token())
    issuer.status = 500
    monkeypatch.setattr(jwt_tokens, "MIN_PAUSE_S", 0)
    monkeypatch.setattr(jwt_tokens, "MAX_AGE_S", 0)

    for _ in range(3):
        assert await remote.caller(token())
        await asyncio.sleep(0.1)

    assert any("the last ones stay in force" in line for line in caplog.messages)


@pytest.mark.parametrize("keys", [[], {}, {"keys": []}, {"keys": [{"kty": "RSA"}]}])
async def test_without_any_key_of_the_issuer_tokens_get_503_with_retry_after(
    remote: JwtVerifier, issuer: Issuer, keys: Any
):
    issuer.keys = keys

    with pytest.raises(ApiError, match="keys of the token's issuer are not available; try again") as caught:
        await remote.caller(token())

    assert caught.value.code == "overloaded" and caught.value.headers["Retry-After"]
