import base64
import hashlib
import hmac
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.jobs.webhook import WebhookSender, read_secret, signed_headers
from serve.jobs.webhook_addresses import WebhookError, check_address, check_literal, parse_url, resolve

SECRET = bytes(range(32))
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


class Receiver(BaseHTTPRequestHandler):
    """Record requests; answer the status of the path."""

    received: list[tuple[str, dict[str, str], bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.received.append((self.path, headers, body))
        status = int(self.path.strip("/").split("/")[0] or 200)
        self.send_response(status)
        if status == 302:
            self.send_header("location", "/200")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def receiver() -> Iterator[tuple[int, list[tuple[str, dict[str, str], bytes]]]]:
    """Port and requests of a receiver on 127.0.0.1."""
    received: list[tuple[str, dict[str, str], bytes]] = []
    handler = type("Handler", (Receiver,), {"received": received})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_port, received
        server.shutdown()


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0"),
        *("100.64.0.1", "192.0.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1"),
        *("255.255.255.255", "::", "::1", "fe80::1", "fc00::1", "fd12::1", "ff02::1", "fec0::1"),
        *("::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1"),
        *("2002:7f00:1::", "2001:0:7f00:1::", "2001:db8::1"),
    ],
)
def test_addresses_that_are_not_public_are_refused(address: str):
    with pytest.raises(WebhookError, match="not public"):
        check_address(ipaddress.ip_address(address), ())


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "2a00:1450:4001::1"])
def test_public_addresses_are_accepted(address: str):
    check_address(ipaddress.ip_address(address), ())


@given(address=st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_no_accepted_address_is_private_or_contains_a_private_one(address: Any):
    try:
        check_address(address, ())
    except WebhookError:
        return
    assert address.is_global and not address.is_multicast
    assert getattr(address, "ipv4_mapped", None) is None and getattr(address, "sixtofour", None) is None


def test_networks_of_the_operator_are_accepted_also_without_tls():
    check_address(ipaddress.ip_address("127.0.0.1"), LOOPBACK, needs_network=True)

    with pytest.raises(WebhookError, match="https"):
        check_address(ipaddress.ip_address("8.8.8.8"), LOOPBACK, needs_network=True)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://example.org/", "https://host/path"),
        ("https://", "https://host/path"),
        ("//example.org/a", "https://host/path"),
        ("https://user:secret@example.org/", "user"),
        ("https://example.org/#part", "fragment"),
        ("https://example.org:99999/", "invalid"),
        ("https://example.org:0/", "https://host/path"),
        ("https://[::1/", "invalid"),
        ("https://exämple.org/", "ASCII"),
        ("https://example.org/\r\nx: y", "ASCII"),
        ("https://example.org/" + "a" * 2000, "2000"),
    ],
)
def test_urls_of_another_form_are_rejected(url: str, reason: str):
    with pytest.raises(WebhookError, match=reason):
        parse_url(url)


@pytest.mark.parametrize(
    "url", ["https://127.0.0.1/", "https://[::1]:8443/", "https://169.254.169.254/latest"]
)
def test_literal_addresses_are_checked_at_once(url: str):
    with pytest.raises(WebhookError, match="not public"):
        check_literal(parse_url(url), ())
    check_literal(parse_url("https://example.org/a?b=c"), ())
    with pytest.raises(WebhookError, match="https"):
        check_literal(parse_url("http://example.org/"), ())


@pytest.mark.parametrize("host", ["localhost", "2130706433", "0x7f000001", "127.1", "017700000001"])
async def test_other_notations_of_loopback_are_refused_after_resolution(host: str):
    with pytest.raises(WebhookError, match=r"not public|no address"):
        await resolve(parse_url(f"https://{host}/"), ())


async def test_a_name_with_one_private_address_is_refused(monkeypatch: pytest.MonkeyPatch):
    found = [(0, 0, 0, "", (address, 443)) for address in ("93.184.216.34", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)

    with pytest.raises(WebhookError, match="not public"):
        await resolve(parse_url("https://example.org/"), ())


def test_the_signature_is_that_of_the_specification():
    """The example of Standard Webhooks, computed step by step."""
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'

    headers = signed_headers(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)

    signed = b"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330." + body
    expected = base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_secret_file_is_checked(tmp_path: Path):
    file = tmp_path / "secret"
    file.write_text("whsec_" + base64.b64encode(SECRET).decode() + "\n")
    assert read_secret(str(file)) == SECRET

    for text in ("", "whsec_", base64.b64encode(SECRET).decode(), "whsec_ä", "whsec_c2hvcnQ=", "whsec_!!"):
        file.write_text(text)
        with pytest.raises(ValueError, match="openssl rand"):
            read_secret(str(file))
    with pytest.raises(ValueError, match="cannot be read"):
        read_secret(str(tmp_path / "missing"))


async def test_a_webhook_arrives_signed(receiver: Any, monkeypatch: pytest.MonkeyPatch):
    port, received = receiver
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")

    await WebhookSender(SECRET, LOOPBACK).send(f"http://localhost:{port}/204/a?b=c", "job-1", b"{}")

    ((path, headers, body),) = received
    assert (path, body, headers["host"]) == ("/204/a?b=c", b"{}", f"localhost:{port}")
    expected = signed_headers(SECRET, "job-1", int(headers["webhook-timestamp"]), b"{}")
    assert headers["webhook-signature"] == expected["webhook-signature"]


@pytest.mark.parametrize("status", [302, 400, 404, 500])
async def test_redirects_and_errors_are_failures(receiver: Any, status: int):
    port, received = receiver

    with pytest.raises(WebhookError, match=f"answered {status}"):
        await WebhookSender(SECRET, LOOPBACK).send(f"http://127.0.0.1:{port}/{status}", "job-1", b"{}")
    assert len(received) == 1


async def test_no_connection_is_made_to_a_refused_address(receiver: Any):
    port, received = receiver

    for url in (f"http://127.0.0.1:{port}/", f"https://localhost:{port}/", f"http://localhost:{port}/"):
        with pytest.raises(WebhookError):
            await WebhookSender(SECRET, ()).send(url, "job-1", b"{}")
    assert received == []


async def test_the_connection_goes_to_the_address_that_was_checked(
    receiver: Any, monkeypatch: pytest.MonkeyPatch
):
    """A name that resolves to another address the second time (DNS rebinding) gains nothing."""
    port, received = receiver
    answers = iter(["127.0.0.1", "10.0.0.1", "10.0.0.1"])
    real = socket.getaddrinfo

    def rebind(host: Any, *arguments: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        return real(next(answers) if name == "rebind.example" else name, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebind)

    await WebhookSender(SECRET, LOOPBACK).send(f"http://rebind.example:{port}/", "job-1", b"{}")

    assert received[0][1]["host"] == f"rebind.example:{port}" and next(answers) == "10.0.0.1"


async def test_a_dead_host_and_one_without_tls_are_failures(receiver: Any):
    port, _ = receiver
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        closed = probe.getsockname()[1]

    for url in (f"http://127.0.0.1:{closed}/", f"https://127.0.0.1:{port}/", "http://nowhere.invalid/"):
        with pytest.raises(WebhookError, match=r"cannot be reached|no address"):
            await WebhookSender(SECRET, LOOPBACK).send(url, "job-1", b"{}")


async def test_tls_is_verified_for_the_name_of_the_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    received: list[Any] = []
    handler = type("Handler", (Receiver,), {"received": received})
    certificate = write_certificate(tmp_path, "hook.example")
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *rest, **options: real("127.0.0.1", *rest, **options)
    )
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        sender = WebhookSender(SECRET, LOOPBACK)

        await sender.send(f"https://hook.example:{server.server_port}/", "job-1", b"{}")
        with pytest.raises(WebhookError, match="cannot be reached"):
            await sender.send(f"https://other.example:{server.server_port}/", "job-1", b"{}")
        server.shutdown()

    assert len(received) == 1


def write_certificate(folder: Path, name: str) -> Path:
    """Write a self-signed certificate with its key."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "certificate.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return file
