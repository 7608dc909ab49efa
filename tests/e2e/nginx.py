"""nginx in front of a server of the tests, with the configuration of docs/operations.md."""

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import PROXY_SECRET, ROOT

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
DEFAULTS = """
    server {{
        listen 127.0.0.1:{port};
        location /plain/ {{
            proxy_pass http://127.0.0.1:8000/;
            proxy_set_header X-Forwarded-Prefix /plain;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            include /etc/nginx/skinserve-secret.conf;
        }}
    }}
"""
"""nginx with its defaults, which buffer responses and speak HTTP/1.0 to the server."""


@dataclass
class Nginx:
    """A running nginx in front of a server."""

    url: str
    """With TLS and the prefix."""
    plain_url: str
    """With another prefix and the defaults of nginx."""


@contextmanager
def run_nginx(folder: Path, server_port: int) -> Iterator[Nginx]:
    """Run nginx in front of a server; skip the test where nginx or openssl is missing."""
    if NGINX is None or shutil.which("openssl") is None:
        pytest.skip("no nginx or no openssl here: apt-get install nginx openssl")
    port, plain_port = _free_ports(2)
    _write_config(folder, server_port, port, plain_port)
    nginx = subprocess.Popen([NGINX, "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "error.log"])
    try:
        for one in (port, plain_port):
            _wait_until_open(nginx, one)
        yield Nginx(url=f"https://127.0.0.1:{port}/skin", plain_url=f"http://127.0.0.1:{plain_port}/plain")
    finally:
        nginx.terminate()
        nginx.wait(10)


def _write_config(folder: Path, server_port: int, port: int, plain_port: int) -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    [documented] = re.findall(r"```nginx\n(.*?)```", text, flags=re.DOTALL)
    options = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=clinic.example"
    files = ["-keyout", folder / "clinic.key", "-out", folder / "clinic.pem"]
    subprocess.run(["openssl", "req", *options.split(), *files], check=True, capture_output=True)
    servers = documented.replace("listen 443", f"listen 127.0.0.1:{port}") + DEFAULTS.format(port=plain_port)
    (folder / "skinserve-secret.conf").write_text(
        f"proxy_set_header X-Skinserve-Proxy-Secret {PROXY_SECRET};"
    )
    servers = servers.replace("/etc/nginx/", f"{folder}/").replace(":8000/", f":{server_port}/")
    folders = "".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; events {{}}\n"
        f"http {{ access_log off; {folders}\n{servers} }}\n",
        encoding="utf-8",
    )


def _free_ports(number: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _wait_until_open(nginx: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert nginx.poll() is None and time.monotonic() < until, "nginx does not start"
            time.sleep(0.05)
