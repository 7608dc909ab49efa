"""The first part of ``python -m tests.fuzz`` against the session's server."""

from pathlib import Path

import pytest

from tests.conftest import Server
from tests.fuzz.processes import ServerProcesses
from tests.fuzz.run import Fuzzer

NUM_FILES, NUM_BODIES = 3000, 600


@pytest.mark.server
async def test_no_mutated_photo_or_body_gets_a_server_error_or_no_answer(server: Server, tmp_path: Path):
    fuzzer = Fuzzer(server.url, seed=2, num_files=NUM_FILES, num_bodies=NUM_BODIES, folder=tmp_path)

    report = await fuzzer.run(print)

    text = "\n".join(report.lines())
    print(text)
    assert not report.faults, text
    assert not report.restarted, text
    assert report.files >= NUM_FILES and report.bodies == NUM_BODIES
    assert {200, 400, 422} <= set(report.statuses), text
    assert len(ServerProcesses(server.port).replicas()) >= 9
