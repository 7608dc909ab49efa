from pathlib import Path

import pytest

from cli.main import main
from serve.runtime.keys_file import key_digest, read_keys


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.yaml"


def run(file: Path, *words: str) -> int:
    return main(["keys", *words, "--file", str(file)])


def test_add_prints_the_key_alone_on_stdout_and_stores_its_digest(
    file: Path, capsys: pytest.CaptureFixture[str]
):
    options = "--roles predict bulk --requests-per-second 5 --burst 10 --photos-per-day 1000"
    assert run(file, "add", "clinic", *options.split(), "--expires", "2027-01-31T00:00:00Z") == 0

    output = capsys.readouterr()
    key = output.out.strip()
    (entry,) = read_keys(file).keys
    assert output.out.count("\n") == 1 and entry.sha256 == key_digest(key)
    assert key not in file.read_text() and key not in output.err
    assert "Authorization: Bearer KEY" in output.err and f"gateway.keys_file: {file}" in output.err
    assert (entry.roles, entry.limit.burst, entry.limit.photos_per_day) == (("predict", "bulk"), 10, 1000)


def test_list_shows_names_roles_and_limits_but_no_digest(file: Path, capsys: pytest.CaptureFixture[str]):
    run(file, "add", "clinic", "--photos-per-day", "1000")
    run(file, "add", "old", "--roles", "admin", "--expires", "2020-01-01T00:00:00Z")
    capsys.readouterr()

    assert run(file, "list") == 0

    header, clinic, old = capsys.readouterr().out.splitlines()
    assert header.split()[:2] == ["name", "roles"]
    assert clinic.split() == ["clinic", "predict", "no", "limit", "no", "limit", "1000", "UTC", "never"]
    assert old.split()[:2] == ["old", "admin"] and old.endswith("(expired)")
    assert not any(entry.sha256[:8] in clinic + old for entry in read_keys(file).keys)


def test_revoke_removes_one_key(file: Path):
    run(file, "add", "one")
    run(file, "add", "two")

    assert run(file, "revoke", "one") == 0

    assert [entry.name for entry in read_keys(file).keys] == ["two"]


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["add", "clinic"], "has a key clinic; choose another name"),
        (["add", "two words"], "name: a name has 1 to 64 letters"),
        (["add", "other", "--burst", "0"], "burst: Input should be greater"),
        (["add", "other", "--expires", "tomorrow"], "expires: "),
        (["add", "other", "--expires", "2027-01-31"], "expires: "),
        (["revoke", "nobody"], "has no key nobody; its keys: clinic"),
    ],
)
def test_a_mistake_is_one_line_and_changes_nothing(
    file: Path, capsys: pytest.CaptureFixture[str], words: list[str], match: str
):
    run(file, "add", "clinic")
    capsys.readouterr()
    before = file.read_bytes()

    assert run(file, *words) == 1

    stderr = capsys.readouterr().err
    assert stderr.startswith("skinserve keys: ") and stderr.count("\n") == 1 and match in stderr
    assert file.read_bytes() == before


@pytest.mark.parametrize("words", [["list"], ["revoke", "clinic"]])
def test_a_missing_file_is_an_error_and_is_not_made(
    file: Path, capsys: pytest.CaptureFixture[str], words: list[str]
):
    assert run(file, *words) == 1

    assert "No such file" in capsys.readouterr().err
    assert not file.exists()


def test_a_file_with_a_mistake_is_not_overwritten(file: Path, capsys: pytest.CaptureFixture[str]):
    file.write_text("keys: [")

    assert run(file, "add", "clinic") == 1

    assert "keys.yaml, line " in capsys.readouterr().err
    assert file.read_text() == "keys: ["
