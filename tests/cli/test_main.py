import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli.commands import COMMANDS
from cli.main import main

MAX_VERSION_S = 1.5
"""0.1 s on an idle machine; the goal is 0.3 s, and importing torch or Ray takes 2 s."""


def test_help_lists_every_command_and_the_exit_codes(capsys: pytest.CaptureFixture[str]):
    assert main(["--help"]) == 0

    text = capsys.readouterr().out
    assert all(f"\n  {name} " in text and command.purpose in text for name, command in COMMANDS.items())
    assert "0 done, 1 failed, 2 wrong use, 3 rows left out" in text


def test_no_argument_prints_the_help(capsys: pytest.CaptureFixture[str]):
    assert main([]) == 0
    assert capsys.readouterr().out.startswith("usage: skinserve COMMAND")


def test_version_is_printed_without_importing_torch_or_ray():
    code = "import sys; from cli.main import main; main(['--version']); print(*sys.modules)"

    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    elapsed_s = time.monotonic() - began

    version, modules = done.stdout.splitlines()
    assert version.startswith("skinserve 0.")
    assert not {"torch", "ray", "tyro", "numpy"} & set(modules.split())
    assert elapsed_s < MAX_VERSION_S


def test_the_console_script_is_installed():
    script = Path(sys.executable).with_name("skinserve")

    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)

    assert done.stdout.startswith("skinserve 0.")


def test_an_unknown_command_is_wrong_use_in_one_line(capsys: pytest.CaptureFixture[str]):
    assert main(["trian"]) == 2

    stderr = capsys.readouterr().err
    assert stderr.startswith("skinserve: no command 'trian'; choose one of serve, ")
    assert stderr.count("\n") == 1


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_ends_with_its_example(name: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])

    lines = capsys.readouterr().out.rstrip().splitlines()
    assert ended.value.code == 0
    assert lines[0].startswith(f"usage: skinserve {name} ")
    assert lines[-1] == f"  {COMMANDS[name].example}"
    assert lines[-1].startswith(f"  skinserve {name} ")


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - {"serve", "train"}))
def test_the_help_names_the_positional_arguments(name: str, capsys: pytest.CaptureFixture[str]):
    words = [
        name,
        *{"labels": ["agreement"], "models": ["push"], "keys": ["add"], "feedback": ["export"]}.get(name, []),
    ]
    with pytest.raises(SystemExit):
        main([*words, "--help"])

    usage = capsys.readouterr().out.split("\n\n")[0].split()
    assert "STR" not in usage
    assert {"MANIFEST", "RUN", "CHECKPOINT", "NAME", "FOLDER"} & set(usage)


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_option_is_wrong_use(name: str):
    with pytest.raises(SystemExit) as ended:
        main([name, "--no-such-option"])

    assert ended.value.code == 2


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - {"keys", "serve", "train"}))
def test_the_example_of_a_command_parses_and_fails_without_its_files_in_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    words = COMMANDS[name].example.replace("s3://clinic/", "").split()

    assert main(words[1:]) == 1

    stderr = capsys.readouterr().err
    assert stderr.startswith(f"skinserve {name}: ") and stderr.count("\n") == 1
