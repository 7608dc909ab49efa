from collections.abc import Sequence

import pytest

from models.errors import SkinserveError, command


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
