"""The first part of ``python -m tests.fuzz`` against the session's server; a longer part is slow."""

from pathlib import Path

import pytest

from tests.conftest import Server
from tests.fuzz.processes import ServerProcesses
from tests.fuzz.run import Fuzzer


@pytest.mark.server
@pytest.mark.parametrize(
    ("num_files", "num_bodies"), [(150, 30), pytest.param(3000, 600, marks=pytest.mark.slow)]
)
async def test_no_mutated_photo_or_body_gets_a_server_error_or_no_answer(
    server: Server, tmp_path: Path, num_files: int, num_bodies: int
):
    fuzzer = Fuzzer(server.url, seed=2, num_files=num_files, num_bodies=num_bodies, folder=tmp_path)

    report = await fuzzer.run(print)

    text = "\n".join(report.lines())
    print(text)
    assert not report.faults, text
    assert not report.restarted, text
    assert report.files >= num_files and report.bodies == num_bodies
    assert {200, 400, 422} <= set(report.statuses), text
    assert len(ServerProcesses(server.port).replicas()) == 3, "two gateways and the page"
