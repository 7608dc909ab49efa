"""A server that starts with dead proxies, few open files and a read-only home.

One start for all of it. Its lesion checkpoint is on S3 behind a real proxy.
"""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from models import storage
from samples.lesion import draw_lesion
from samples.series import draw_series
from tests.conftest import ROOT, Server, StartServer
from tests.local_bucket import new_bucket, s3_server
from tests.serve.fakes import jpeg_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.server,
    pytest.mark.skipif(not shutil.which("tinyproxy"), reason="tinyproxy is not installed"),
]

DEAD = "http://127.0.0.1:9"
S3_ADDRESS = "127.0.0.2"
"""Not an address of the server, so that its log distinguishes them."""
CLOUD_METADATA = ("169.254.169.254", "metadata.google.internal")
"""Ray sends requests there at the start to detect a cloud machine."""
OPEN_FILES = 4096


class Proxy:
    """A running tinyproxy."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._log = folder / "log.txt"
        config = folder / "tinyproxy.conf"
        config.write_text(
            f'Port {self.port}\nListen 127.0.0.1\nTimeout 60\nLogLevel Connect\nLogFile "{self._log}"\n'
        )
        self._process = subprocess.Popen(["tinyproxy", "-d", "-c", str(config)], stdout=subprocess.DEVNULL)

    def wait_until_ready(self) -> None:
        until = time.monotonic() + 30
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
            except ConnectionRefusedError:
                time.sleep(0.05)
            else:
                return
        raise TimeoutError("tinyproxy does not listen")

    def requests(self) -> list[str]:
        """Return the request lines that it received."""
        lines = self._log.read_text(encoding="utf-8").splitlines()
        return [line.partition("): ")[2] for line in lines if "Request (file descriptor" in line]

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    one = Proxy(tmp_path_factory.mktemp("proxy"))
    one.wait_until_ready()
    yield one
    one.stop()


@pytest.fixture(scope="module")
def hard_server(
    start_server: StartServer, server_config: Path, proxy: Proxy, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A ready server with a dead proxy for gRPC and HTTPS, and a real one for HTTP."""
    config = yaml.safe_load(server_config.read_text(encoding="utf-8"))
    api = config["applications"][0]
    for deployment in api["deployments"]:
        deployment["num_replicas"] = 1
    lesion = api["args"]["lesion"]
    file = tmp_path_factory.mktemp("config") / "config.yaml"
    environment = {"HOME": "/proc", "http_proxy": f"http://127.0.0.1:{proxy.port}", "HTTP_PROXY": DEAD}
    environment |= {"https_proxy": DEAD, "HTTPS_PROXY": DEAD, "all_proxy": "socks5://127.0.0.1:9"}
    environment |= {"no_proxy": "", "NO_PROXY": ""}
    with s3_server(S3_ADDRESS), new_bucket("released") as bucket:
        storage.upload_folder(ROOT / lesion["checkpoints"][0], f"{bucket}/lesion")
        lesion["checkpoints"] = [f"{bucket}/lesion"]
        file.write_text(yaml.safe_dump(config), encoding="utf-8")
        one = start_server(file, environment, open_files=OPEN_FILES)
        one.wait_for("ready: ")
    yield one
    one.stop()


def test_a_server_with_proxies_few_open_files_and_no_home_answers(hard_server: Server, proxy: Proxy):
    faces = draw_series(improving=True, num_photos=3, seed=5)
    series = [("files", (f"{index}.jpg", jpeg_of(face))) for index, face in enumerate(faces)]
    with httpx.Client(base_url=hard_server.url, timeout=90, trust_env=False) as http:
        lesion = http.post("/v1/lesion", content=jpeg_of(draw_lesion(seed=3)))
        progress = http.post("/v1/progress", files=series)
        page = http.get("/ui/")

    assert [one.status_code for one in (lesion, progress, page)] == [200, 200, 200]
    assert "at most 1598 connections: the limit of open files (ulimit -n) is low" in hard_server.output()
    requests = [line for line in proxy.requests() if not any(one in line for one in CLOUD_METADATA)]
    assert any("weights.safetensors" in line for line in requests)
    assert [line for line in requests if f"http://{S3_ADDRESS}:" not in line] == []
