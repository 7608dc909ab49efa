import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from models.errors import SkinserveError, command

ROOT = Path(__file__).parents[2]


def test_an_error_of_ours_is_one_line_and_exit_code_1(capsys: pytest.CaptureFixture[str]):
    @command("skinserve measure")
    def main(prog: str, arguments: Sequence[str] | None) -> int:
        raise SkinserveError(f"{prog} found no photo; add one")

    assert main() == 1
    assert capsys.readouterr() == ("", "skinserve measure: skinserve measure found no photo; add one\n")


def test_ctrl_c_is_one_line_and_exit_code_130(capsys: pytest.CaptureFixture[str]):
    @command("skinserve measure", when_stopped="stopped; nothing was written")
    def main(prog: str, arguments: Sequence[str] | None) -> int:
        raise KeyboardInterrupt

    assert main() == 130
    assert capsys.readouterr().err == "skinserve measure: stopped; nothing was written\n"


def test_a_fault_keeps_its_traceback():
    @command("skinserve measure")
    def main(prog: str, arguments: Sequence[str] | None) -> int:
        raise KeyError("width")

    with pytest.raises(KeyError, match="width"):
        main()


def test_a_reader_that_ends_early_is_no_error():
    code = (
        "from models.errors import command\n"
        "main = command('skinserve measure')(lambda prog, arguments: print('line\\n' * 100_000) or 0)\n"
        "raise SystemExit(main())"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()

        assert process.stderr.read() == b""
        assert process.wait(30) == 0
