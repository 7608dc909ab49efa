import asyncio
import time
from pathlib import Path

import pytest

from serve.runtime import key_ring
from serve.runtime.errors import ApiError
from serve.runtime.key_ring import KeyRing
from serve.runtime.keys_file import KeyEntry, KeysFileError, change_keys, key_digest

PAST, FUTURE = "2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z"


def write_keys(file: Path, *names: str, expires: str | None = None) -> None:
    """Write keys that are their own names."""
    entries = [
        KeyEntry.model_validate(
            {"name": name, "sha256": key_digest(name), "roles": ["predict"], "expires": expires}
        )
        for name in names
    ]
    change_keys(file, lambda _: entries)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_keys(tmp_path / "keys.yaml", "one", "two")
    return tmp_path / "keys.yaml"


@pytest.fixture(autouse=True)
def _check_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_ring, "CHECK_EVERY_S", 0)


async def error_of(ring: KeyRing, key: str) -> str:
    with pytest.raises(ApiError) as caught:
        await ring.caller(key)
    assert caught.value.code == "unauthorized"
    return str(caught.value)


async def test_a_key_gives_its_caller_and_any_other_the_same_error(file: Path):
    ring = KeyRing(file)

    caller = await ring.caller("two")

    assert (caller.name, caller.roles) == ("key:two", {"predict"})
    wrong = {
        await error_of(ring, key) for key in ("on", "onee", "ONE", "a.b.c", key_digest("one"), "ü", "\udcff")
    }
    assert len(wrong) == 1 and "not valid" in wrong.pop()


async def test_the_key_of_the_page_may_predict(file: Path):
    write_keys(file, "page")

    generated = await KeyRing(file, page_sha256=key_digest("new")).caller("new")
    listed = await KeyRing(file).caller("page")

    assert (generated.name, generated.roles) == (listed.name, listed.roles) == ("page", {"predict"})


async def test_the_message_of_an_expired_key_states_the_expiry(file: Path):
    write_keys(file, "old", expires=PAST)
    assert "has expired" in await error_of(KeyRing(file), "old")

    write_keys(file, "old", expires=FUTURE)
    assert (await KeyRing(file).caller("old")).name == "key:old"


async def test_a_changed_file_is_in_force_without_a_restart(file: Path):
    ring = KeyRing(file)

    write_keys(file, "two", "three")

    await error_of(ring, "one")
    assert (await ring.caller("three")).name == "key:three"


async def test_the_first_request_after_a_quiet_time_sees_the_change(
    file: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(key_ring, "CHECK_EVERY_S", 100)
    ring = KeyRing(file)
    write_keys(file, "two")
    await ring.caller("one")  # checked a moment ago

    monkeypatch.setattr(time, "monotonic", lambda now=time.monotonic: now() + 101)

    await error_of(ring, "one")


@pytest.mark.parametrize("mistake", ["", "keys: [", "keys:\n  - name: one", "missing"])
async def test_a_mistake_leaves_the_last_good_file_in_force_and_is_logged_once(
    file: Path, mistake: str, caplog: pytest.LogCaptureFixture
):
    ring = KeyRing(file)
    if mistake == "missing":
        file.unlink()
    else:
        file.write_text(mistake)

    names = [(await ring.caller("one")).name for _ in range(3)]

    assert names == ["key:one"] * 3
    (line,) = caplog.messages
    assert str(file) in line and "the last good keys stay in force" in line
    write_keys(file.with_name("other.yaml"), "three")
    file.with_name("other.yaml").replace(file)
    assert (await ring.caller("three")).name == "key:three"
    assert "is in force again" in caplog.messages[-1]


async def test_an_emptied_list_revokes_the_last_key(file: Path):
    ring = KeyRing(file)

    write_keys(file)

    await error_of(ring, "one")


async def test_a_file_system_that_hangs_delays_one_request(file: Path, monkeypatch: pytest.MonkeyPatch):
    ring = KeyRing(file)
    monkeypatch.setattr(key_ring, "CHECK_TIMEOUT_S", 0.1)
    monkeypatch.setattr(key_ring, "_signature", lambda _: time.sleep(1) or ())

    began = time.monotonic()
    callers = await asyncio.gather(*(ring.caller("one") for _ in range(50)))

    assert time.monotonic() - began < 0.8
    assert len(callers) == 50


def test_a_wrong_file_at_the_start_is_an_error(tmp_path: Path):
    with pytest.raises(KeysFileError, match="No such file"):
        KeyRing(tmp_path / "nowhere.yaml")
