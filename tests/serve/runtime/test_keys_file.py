import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from serve.config import Limit
from serve.runtime.keys_file import KeyEntry, KeysFileError, change_keys, key_digest, new_key, read_keys

DIGEST = key_digest("secret")


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "keys.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def entry(name: str) -> KeyEntry:
    return KeyEntry(name=name, sha256=key_digest(name), roles=("predict",))


def test_a_new_key_has_256_random_bits_and_one_form():
    keys = {new_key() for _ in range(100)}

    assert len(keys) == 100
    assert all(key.startswith("skin_") and len(key) == len("skin_") + 43 and "." not in key for key in keys)


def test_a_complete_file_is_read(tmp_path: Path):
    file = written(
        tmp_path,
        f"""
        keys:
          - name: clinic
            sha256: {DIGEST}
            roles: [predict, bulk]
            limit: {{requests_per_second: 5, burst: 10, photos_per_day: 1000}}
            expires: 2027-01-31T00:00:00Z
        jwt:
          issuer: https://login.example
          audience: skinserve
          jwks: https://login.example/jwks.json
          roles: {{doctor: [predict]}}
        """,
    )

    content = read_keys(file)

    (one,) = content.keys
    assert (one.name, one.roles) == ("clinic", ("predict", "bulk"))
    assert one.limit == Limit(requests_per_second=5, burst=10, photos_per_day=1000)
    assert one.expires is not None and one.expires.isoformat() == "2027-01-31T00:00:00+00:00"
    assert content.jwt is not None and content.jwt.roles_claim == "roles"


KEY = f"name: a\n    sha256: {DIGEST}\n    roles: [predict]"


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "has no list of keys"),
        ("keys", "has no list of keys"),
        ("keys: [", "line [12]: .*expected"),
        ("\x00", "not YAML|line 1"),
        ("keys: []\nkeys: []", "line 1: 'keys' is written twice"),
        ("jwt: null", "keys: Field required"),
        (f"keys:\n  - {KEY}\n    colour: red", "keys.0.colour: is unknown; correct the name"),
        (
            f"keys:\n  - {KEY}".replace("predict", "king"),
            "keys.0.roles.0: Input should be 'predict', 'bulk' or",
        ),
        (f"keys:\n  - {KEY}".replace("[predict]", "[]"), "keys.0.roles: "),
        (f"keys:\n  - {KEY}".replace(DIGEST, "skin_secret"), "keys.0.sha256: 64 hex digits"),
        (f"keys:\n  - {KEY}".replace("name: a", "name: a b"), "keys.0.name: a name has 1 to 64 letters"),
        (f"keys:\n  - {KEY}\n    limit: {{burst: 0}}", "keys.0.limit.burst: "),
        (f"keys:\n  - {KEY}\n    expires: 2027-01-31", "keys.0.expires: "),
        (f"keys:\n  - {KEY}\n  - {KEY}", "several keys have the name a"),
        (f"keys:\n  - {KEY}\n  - {KEY.replace('name: a', 'name: b')}", "a and b have the same key"),
        ("keys: []\njwt: {issuer: a, audience: b, jwks: 'http://a.example', roles: {a: [predict]}}", "https"),
    ],
)
def test_a_mistake_is_named_in_one_line_without_the_content(tmp_path: Path, text: str, match: str):
    with pytest.raises(KeysFileError, match=match) as caught:
        read_keys(written(tmp_path, text))

    assert "\n" not in str(caught.value)
    assert DIGEST not in str(caught.value) and "skin_secret" not in str(caught.value)


def test_a_file_that_is_missing_binary_or_a_folder_is_an_error(tmp_path: Path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\xff\xff" * 100)

    for name, match in (("nowhere", "No such file"), ("", "Is a directory"), ("binary", "not YAML|no list")):
        with pytest.raises(KeysFileError, match=match):
            read_keys(tmp_path / name)


def test_a_change_is_atomic_and_keeps_the_rest_of_the_file(tmp_path: Path):
    file = written(
        tmp_path, f"keys:\n  - {KEY}\njwt: {{issuer: a, audience: b, jwks: c, roles: {{a: [admin]}}}}"
    )
    os.chmod(file, 0o640)

    change_keys(file, lambda entries: [*entries, entry("b")])

    content = read_keys(file)
    assert [one.name for one in content.keys] == ["a", "b"]
    assert content.jwt is not None and content.jwt.jwks == "c"
    assert file.stat().st_mode & 0o777 == 0o640
    assert {path.name for path in tmp_path.iterdir()} == {"keys.yaml", ".keys.yaml.lock"}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_a_change_by_root_leaves_the_file_to_the_user_of_the_server(tmp_path: Path):
    file = written(tmp_path, f"keys:\n  - {KEY}\n")
    os.chown(file, 1000, 1001)

    change_keys(file, lambda entries: [*entries, entry("b")])

    owners = {(one.stat().st_uid, one.stat().st_gid) for one in (file, tmp_path / ".keys.yaml.lock")}
    assert owners == {(1000, 1001)}


def test_a_new_file_is_readable_by_its_owner_only(tmp_path: Path):
    change_keys(tmp_path / "keys.yaml", lambda _: [entry("a")])

    assert (tmp_path / "keys.yaml").stat().st_mode & 0o777 == 0o600


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = written(tmp_path, f"keys:\n  - {KEY}")
    before = file.read_bytes()

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(KeysFileError, match="is as before, writing failed: No space left on device"):
        change_keys(file, lambda entries: [*entries, entry("b")])

    assert file.read_bytes() == before
    assert not [
        path for path in tmp_path.iterdir() if path.name.startswith(".keys.yaml.") and "lock" not in path.name
    ]


def test_concurrent_changes_are_all_kept(tmp_path: Path):
    file = tmp_path / "keys.yaml"
    names = [f"key-{number}" for number in range(20)]

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda name: change_keys(file, lambda found: [*found, entry(name)]), names))

    assert sorted(one["name"] for one in yaml.safe_load(file.read_text())["keys"]) == sorted(names)


def test_the_target_of_a_link_is_changed(tmp_path: Path):
    target = written(tmp_path, "keys: []")
    link = tmp_path / "link.yaml"
    link.symlink_to(target)

    change_keys(link, lambda _: [entry("a")])

    assert link.is_symlink() and len(read_keys(target).keys) == 1
