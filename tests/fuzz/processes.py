"""Observe the processes of a server on this machine."""

from contextlib import suppress

import psutil

_REPLICA = "ServeReplica:"
_GATEWAY = "ServeReplica:api:Gateway"
_HELPER = "models.image_files.helper_process"


class ServerProcesses:
    """The processes of the server that listens on a port; none if it runs elsewhere."""

    def __init__(self, port: int) -> None:
        self._root = next((one for one in psutil.process_iter() if _serves(_command(one), port)), None)

    def replicas(self) -> dict[int, str]:
        """Return the replicas: their process ids and titles."""
        return {pid: command for pid, command in self._commands().items() if _REPLICA in command}

    def helpers(self) -> set[int]:
        """Return the process ids of the helpers that decode photos."""
        return {pid for pid, command in self._commands().items() if _HELPER in command}

    def memory(self) -> dict[str, int]:
        """Return the resident memory of the gateways and of their helpers, in MB."""
        total = {_GATEWAY: 0, _HELPER: 0}
        for pid, command in self._commands().items():
            for name in total:
                with suppress(psutil.NoSuchProcess):
                    total[name] += psutil.Process(pid).memory_info().rss if name in command else 0
        return {"gateways": total[_GATEWAY] // 10**6, "helpers": total[_HELPER] // 10**6}

    def _commands(self) -> dict[int, str]:
        found = self._root.children(recursive=True) if self._root else []
        return {one.pid: " ".join(_command(one)) for one in found}


def _serves(command: list[str], port: int) -> bool:
    return "serve.runtime.server_process" in command and str(port) in command


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return []
