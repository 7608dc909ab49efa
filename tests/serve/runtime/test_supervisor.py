"""The supervisor over a stand-in for Ray: a server with orphans that ignore every signal but SIGKILL."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

STAND_IN = """
import http.server, os, signal, subprocess, sys, time
port, home, how = int(sys.argv[1]), sys.argv[2], sys.argv[3]
stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(1000)"
orphan = f"[sys.executable, '-c', {stubborn!r}, {home!r}], start_new_session=True"
middle = f"import subprocess, sys; subprocess.Popen({orphan})"
subprocess.run([sys.executable, "-c", middle], check=True)  # leaves an orphan
print("progress: loading", flush=True)
if how == "hang":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(1000)
if how == "bad-config":
    print("failure: the checkpoint is missing", flush=True)
    sys.exit(2)
if how == "flaky" and not os.path.exists(home + "/second"):
    open(home + "/second", "w").close()
    sys.exit("the proxy did not come up")

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'{"status": "ok"}'
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass

os.makedirs(home + "/uploads")
http.server.HTTPServer(("127.0.0.1", port), Answer).serve_forever()
"""

RUN = """
import sys
from pathlib import Path
from serve.runtime.supervisor import Start, Supervisor
port, home, how, stand_in = sys.argv[1:]
command = [sys.executable, "-c", stand_in, port, home, how]
start = Start(command=command, environment={}, home=Path(home), host="127.0.0.1", port=int(port))
sys.exit(Supervisor(start).run())
"""

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="orphans are handed to the supervisor on Linux only"
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(home: Path, port: int, how: str) -> subprocess.Popen[str]:
    home.mkdir()
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(port), str(home), how, STAND_IN],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def of(home: Path) -> list[psutil.Process]:
    """Every process that was started for this home."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        if process.info["status"] != psutil.STATUS_ZOMBIE and str(home) in (process.info["cmdline"] or []):
            found.append(process)
    return found


def wait_for_line(process: subprocess.Popen[str], text: str) -> str:
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if text in line:
            return said
    raise AssertionError(f"{text!r} was never said, but: {said}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_every_process_frees_the_port_and_deletes_the_folder(tmp_path: Path, number: int):
    home, port = tmp_path / "home", free_port()
    process = start(home, port, "serve")
    wait_for_line(process, "ready: ")
    orphans = len(of(home))
    os.kill(process.pid, number)
    said, _ = process.communicate(timeout=15)

    assert orphans >= 3
    assert process.returncode == 0
    assert "Traceback" not in said
    assert of(home) == []
    assert not home.exists()
    with pytest.raises(OSError):
        http.client.HTTPConnection("127.0.0.1", port, timeout=1).connect()


def test_a_server_that_ignores_the_signal_while_it_starts_is_ended_too(tmp_path: Path):
    home = tmp_path / "home"
    process = start(home, free_port(), "hang")
    wait_for_line(process, "loading")
    began = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=15)

    assert time.monotonic() - began < 5
    assert of(home) == []


def test_ray_that_does_not_come_up_is_tried_again_and_this_is_said(tmp_path: Path):
    home = tmp_path / "home"
    process = start(home, free_port(), "flaky")
    said = wait_for_line(process, "ready: ")
    os.kill(process.pid, signal.SIGTERM)
    process.communicate(timeout=15)

    assert "Ray did not come up (the proxy did not come up); trying again, 2 of 3" in said
    assert of(home) == []


def test_a_start_that_makes_no_sense_is_not_tried_again_and_keeps_its_logs(tmp_path: Path):
    home = tmp_path / "home"
    process = start(home, free_port(), "bad-config")
    said, _ = process.communicate(timeout=15)

    assert process.returncode == 1
    assert f"did not start: the checkpoint is missing (logs: {home})" in said
    assert "again" not in said
    assert of(home) == []
    assert (home / "server.log").exists()
