import resource
import shutil
from pathlib import Path
from typing import Any

import psutil
import pytest

from serve.runtime import machine_limits
from serve.runtime.machine_limits import (
    MachineError,
    free_memory_bytes,
    haproxy_connections,
    make_home,
    raise_open_files_limit,
)

GB = 1_000_000_000


@pytest.fixture
def cgroups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of /sys/fs/cgroup, and 16 GB of free memory."""
    memory: Any = psutil.virtual_memory()._replace(available=16 * GB)
    monkeypatch.setattr("psutil.virtual_memory", lambda: memory)
    monkeypatch.setattr(machine_limits, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(machine_limits, "OWN_CGROUPS", tmp_path / "own")
    return tmp_path / "cgroup"


def write_group(folder: Path, files: dict[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / name).write_text(f"{value}\n")


def v2(limit: object, used: int, cache: int = 0) -> dict[str, object]:
    return {
        "memory.max": limit,
        "memory.current": used,
        "memory.stat": f"anon 5\ninactive_file {cache}",
    }


def v1(limit: int, used: int, cache: int = 0) -> dict[str, object]:
    return {
        "memory.limit_in_bytes": limit,
        "memory.usage_in_bytes": used,
        "memory.stat": f"inactive_file 5\ntotal_inactive_file {cache}",
    }


def test_without_control_groups_the_memory_of_the_machine_is_free(cgroups: Path):
    assert not cgroups.exists()
    assert free_memory_bytes() == 16 * GB


def test_a_container_with_its_own_view_has_its_limit_less_what_it_uses(cgroups: Path, tmp_path: Path):
    (tmp_path / "own").write_text("0::/\n")
    write_group(cgroups, v2(2 * GB, GB, cache=GB // 2))

    assert free_memory_bytes() == 1.5 * GB


def test_the_smallest_limit_of_a_group_and_those_around_it_holds(cgroups: Path, tmp_path: Path):
    (tmp_path / "own").write_text("0::/system.slice/run.scope\n")
    write_group(cgroups / "system.slice", v2(4 * GB, GB))
    write_group(cgroups / "system.slice/run.scope", v2("max", GB))

    assert free_memory_bytes() == 3 * GB


def test_version_1_is_read_also_where_the_path_is_that_of_the_host(cgroups: Path, tmp_path: Path):
    (tmp_path / "own").write_text("4:memory:/docker/abc\n1:cpu:/docker/abc\n0::/\n")
    write_group(cgroups / "memory", v1(2 * GB, GB))

    assert free_memory_bytes() == GB


@pytest.fixture
def open_files(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Limits of this process in place of the real ones; the last is in force."""
    limits = [(1024, 20_000)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, both: limits.append(both))
    return limits


@pytest.mark.parametrize(
    ("soft", "hard", "connections"),
    [(1024, 4096, 1598), (4096, 4096, 1598), (1024, 20_000, 4096), (256, resource.RLIM_INFINITY, 4096)],
)
def test_the_limit_of_open_files_is_raised_and_decides_on_the_connections(
    open_files: list[tuple[int, int]], soft: int, hard: int, connections: int
):
    open_files.append((soft, hard))

    limit = raise_open_files_limit()

    assert open_files[-1] == (limit, hard)
    assert limit == (hard if hard in (4096, 20_000) else 20_000)
    assert haproxy_connections(limit) == connections


def test_too_few_open_files_are_one_line(open_files: list[tuple[int, int]]):
    open_files.append((256, 256))

    with pytest.raises(MachineError, match=r"^256 open files are allowed, \d+ are needed; raise .* again$"):
        raise_open_files_limit()


@pytest.fixture
def free_disk(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Free bytes by folder in place of the real ones; a folder that is not named has 10 GB."""
    free: dict[str, int] = {}
    usage: Any = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=free.get(folder, 10 * GB)))
    return free


def test_a_small_tmp_is_passed_over_for_tmpdir(
    tmp_path: Path, free_disk: dict[str, int], monkeypatch: pytest.MonkeyPatch
):
    free_disk["/tmp"] = 64_000_000
    monkeypatch.setenv("TMPDIR", "/var/tmp/")

    home = make_home()

    assert home.parent == Path("/var/tmp") and (home / "tmp").is_dir()
    shutil.rmtree(home)


def test_a_machine_without_a_folder_for_the_server_is_one_line(
    free_disk: dict[str, int], monkeypatch: pytest.MonkeyPatch
):
    free_disk |= {"/tmp": 64_000_000, "/var/tmp": 1_000_000}
    monkeypatch.setenv("TMPDIR", "/proc")

    with pytest.raises(MachineError) as caught:
        make_home()

    message = str(caught.value)
    assert "/tmp: 64 MB free; /proc: " in message and "/var/tmp: 1 MB free" in message
    assert "\n" not in message and "set TMPDIR to a folder with 300 MB" in message


def test_a_long_tmpdir_is_rejected_by_name(
    tmp_path: Path, free_disk: dict[str, int], monkeypatch: pytest.MonkeyPatch
):
    free_disk |= {"/tmp": 0, "/var/tmp": 0}
    monkeypatch.setenv("TMPDIR", str(tmp_path))

    with pytest.raises(MachineError, match="path too long"):
        make_home()
