"""The supervisor with a fake server, whose orphans ignore every signal but SIGKILL."""

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

FAKE_SERVER = """
import http.server, os, signal, subprocess, sys, time
port, home, mode = int(sys.argv[1]), sys.argv[2], sys.argv[3]
stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(1000)"
orphan = f"[sys.executable, '-c', {stubborn!r}, {home!r}], start_new_session=True"
middle = f"import subprocess, sys; subprocess.Popen({orphan})"
subprocess.run([sys.executable, "-c", middle], check=True)  # leaves an orphan
print("progress: loading", flush=True)
if mode == "closed-page":
    print("notice: the page is off, as access is not set", flush=True)
if mode == "no-page":
    print("notice: there is no page: no application of the config imports ui.app:build_app", flush=True)
if mode == "stuck":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(1000)
if mode == "bad-config":
    print("failure: the checkpoint is missing", flush=True)
    sys.exit(2)
if mode == "flaky" and not os.path.exists(home + "/second"):
    open(home + "/second", "w").close()
    sys.exit("the proxy did not start")

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        closed = mode in ("closed-page", "no-page") and self.path == "/ui/"
        message = {"closed-page": b"the page is off"}.get(mode, b"no route GET /ui/")
        body = b'{"error": {"message": "' + message + b'"}}' if closed else b'{"status": "ok"}'
        self.send_response(404 if closed else 200)
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
from serve.runtime.supervisor import LaunchSpec, Supervisor
port, home, mode, fake_server = sys.argv[1:]
command = [sys.executable, "-c", fake_server, port, home, mode]
spec = LaunchSpec(command=command, environment={}, home=Path(home), host="127.0.0.1", port=int(port))
sys.exit(Supervisor(spec).run())
"""

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux makes the supervisor the parent of orphans"
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(home: Path, port: int, mode: str) -> subprocess.Popen[str]:
    home.mkdir()
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(port), str(home), mode, FAKE_SERVER],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def processes_of(home: Path) -> list[psutil.Process]:
    """All live processes with this folder on their command line."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        if process.info["status"] != psutil.STATUS_ZOMBIE and str(home) in (process.info["cmdline"] or []):
            found.append(process)
    return found


def wait_for_line(process: subprocess.Popen[str], text: str) -> str:
    assert process.stdout is not None
    output = ""
    for line in process.stdout:
        output += line
        if text in line:
            return output
    raise AssertionError(f"{text!r} was not printed, but: {output}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_all_processes_frees_the_port_and_deletes_the_folder(tmp_path: Path, number: int):
    home, port = tmp_path / "home", free_port()
    process = start(home, port, "serve")
    wait_for_line(process, "ready: ")
    orphans = len(processes_of(home))
    os.kill(process.pid, number)
    output, _ = process.communicate(timeout=15)

    assert orphans >= 3
    assert process.returncode == 0
    assert "Traceback" not in output
    assert processes_of(home) == []
    assert not home.exists()
    with pytest.raises(OSError):
        http.client.HTTPConnection("127.0.0.1", port, timeout=1).connect()


def test_a_closed_page_is_not_waited_for_and_the_reason_is_printed(tmp_path: Path):
    process = start(tmp_path / "home", free_port(), "closed-page")
    output = wait_for_line(process, "ready: ")
    os.kill(process.pid, signal.SIGTERM)
    process.communicate(timeout=15)

    assert "skinserve: the page is off, as access is not set\n" in output
    assert "is the page" not in output and "/docs the API" in output


def test_a_server_without_a_page_is_ready_with_its_api(tmp_path: Path):
    process = start(tmp_path / "home", free_port(), "no-page")
    output = wait_for_line(process, "ready: ")
    os.kill(process.pid, signal.SIGTERM)
    process.communicate(timeout=15)

    assert "skinserve: there is no page: no application of the config imports ui.app:build_app\n" in output
    assert "is the page" not in output and "/docs the API" in output


def test_a_starting_server_that_ignores_signals_is_killed(tmp_path: Path):
    home = tmp_path / "home"
    process = start(home, free_port(), "stuck")
    wait_for_line(process, "loading")
    began = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=15)

    assert time.monotonic() - began < 5
    assert processes_of(home) == []


def test_a_failed_start_of_ray_is_reported_and_retried(tmp_path: Path):
    home = tmp_path / "home"
    process = start(home, free_port(), "flaky")
    output = wait_for_line(process, "ready: ")
    os.kill(process.pid, signal.SIGTERM)
    process.communicate(timeout=15)

    assert "Ray did not start (the proxy did not start); attempt 2 of 3" in output
    assert processes_of(home) == []


def test_a_bad_config_is_not_retried_and_keeps_its_logs(tmp_path: Path):
    home = tmp_path / "home"
    process = start(home, free_port(), "bad-config")
    output, _ = process.communicate(timeout=15)

    assert process.returncode == 1
    assert f"did not start: the checkpoint is missing (logs: {home})" in output
    assert "attempt" not in output
    assert processes_of(home) == []
    assert (home / "server.log").exists()
