"""Limits of this machine or container: memory, open files, folders for the server's files."""

import os
import resource
import shutil
import tempfile
from pathlib import Path

import psutil

from models.errors import SkinserveError

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")
V1_FILES = ("memory.limit_in_bytes", "memory.usage_in_bytes")
V2_FILES = ("memory.max", "memory.current")
HAPROXY_CONNECTIONS = 4096
"""Ray's default."""
OPEN_FILES_PER_CONNECTION = 2.5
"""HAProxy reserves two sockets and half a pipe for each connection."""
OTHER_OPEN_FILES = 100
"""Listeners, health checks and logs of HAProxy."""
OPEN_FILES = 20_000
"""A server needs no more."""
MIN_OPEN_FILES = 1024
MIN_FREE_DISK_BYTES = 300_000_000
"""Logs."""
MAX_FOLDER_LENGTH = 24
"""Ray adds about 80 characters to the paths of its sockets, which may have 107."""


class MachineError(SkinserveError):
    """Report too little disk space or too few open files for a server."""


def free_memory_bytes() -> int:
    """Return the free memory of the machine or, if less, of its control groups."""
    return min([psutil.virtual_memory().available, *_free_in_cgroups()])


def _free_in_cgroups() -> list[int]:
    """Return the free bytes under each memory limit, of cgroup v1 and v2."""
    free = []
    for line in OWN_CGROUPS.read_text().splitlines() if OWN_CGROUPS.is_file() else []:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root = CGROUPS / "memory" if controllers else CGROUPS
        limit_file, used_file = V1_FILES if controllers else V2_FILES
        own = Path(path.lstrip("/"))
        for group in (own, *own.parents):  # a limit holds for all groups below
            limit, used = _number_in(root / group / limit_file), _number_in(root / group / used_file)
            if limit is not None and used is not None:
                free.append(limit - used + _droppable_bytes(root / group / "memory.stat"))
    return free


def _droppable_bytes(statistics: Path) -> int:
    """Return the bytes of the page cache that the kernel drops when memory is needed."""
    text = statistics.read_text() if statistics.is_file() else ""
    values = dict(line.split(" ", 1) for line in text.splitlines())
    return int(values.get("total_inactive_file", values.get("inactive_file", 0)))


def _number_in(file: Path) -> int | None:
    text = file.read_text().strip() if file.is_file() else ""
    return int(text) if text.isdigit() else None


def raise_open_files_limit() -> int:
    """Raise this process's limit of open files as far as needed and allowed; return it.

    Raises:
        MachineError: the limit is too low for Ray.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if most < MIN_OPEN_FILES:
        raise MachineError(
            f"{most} open files are allowed, {MIN_OPEN_FILES} are needed; raise the hard limit of ulimit -n, "
            f"or of a container (docker run --ulimit nofile={OPEN_FILES}), and try again"
        )
    if soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return max(soft, most)


def haproxy_connections(open_files: int) -> int:
    """Return how many connections HAProxy can accept with this limit of open files."""
    return min(HAPROXY_CONNECTIONS, int((open_files - OTHER_OPEN_FILES) / OPEN_FILES_PER_CONNECTION))


def make_home() -> Path:
    """Make the folder of all files of one server: in /tmp, $TMPDIR or /var/tmp.

    Raises:
        MachineError: none of them is writable, has room, and a path short enough for sockets.
    """
    problems = []
    for parent in dict.fromkeys(("/tmp", os.environ.get("TMPDIR", "/tmp").rstrip("/"), "/var/tmp")):
        problem = _problem_with(parent)
        if not problem:
            home = Path(tempfile.mkdtemp(prefix="skinserve-", dir=parent))
            (home / "tmp").mkdir()
            return home
        problems.append(f"{parent}: {problem}")
    raise MachineError(
        f"no folder for the files of the server ({'; '.join(problems)}); set TMPDIR to a folder with "
        f"{MIN_FREE_DISK_BYTES / 1e6:.0f} MB and a path of at most {MAX_FOLDER_LENGTH} characters"
    )


def _problem_with(folder: str) -> str:
    """Return why a folder cannot hold the files of a server, or an empty string."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
    except OSError as error:
        return str(error.strerror)
    if free < MIN_FREE_DISK_BYTES:
        return f"{free / 1e6:.0f} MB free"
    return "path too long" if len(folder) > MAX_FOLDER_LENGTH else ""
