"""Cores and instructions of the processor; importable without torch."""

import os
import platform
import sys
from functools import cache
from pathlib import Path


def num_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


@cache
def has_vnni() -> bool:
    """Return whether the processor has AVX-512 VNNI, whose int8 products cannot overflow; Linux only."""
    cpu_info = Path("/proc/cpuinfo")
    if platform.machine() not in ("x86_64", "AMD64") or not cpu_info.is_file():
        return False
    return " avx512_vnni" in cpu_info.read_text(encoding="ascii", errors="replace")
