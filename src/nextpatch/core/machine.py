"""What this machine has: processors, memory, the time of its start; by whatever its operating system offers."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_UNKNOWN_MEMORY = 4 * 2**30  # where the system does not say: a small machine's


def usable_cores() -> int:
    """How many processors this process may use."""
    asked = getattr(os, "sched_getaffinity", None)  # Linux alone
    return len(asked(0)) if asked else os.cpu_count() or 1


def memory_bytes() -> int:
    """The memory of this machine; a small machine's where the system does not say."""
    with contextlib.suppress(AttributeError, ValueError, OSError):
        return max(1, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return _UNKNOWN_MEMORY


def boot_id() -> str:
    """A text that changes when the machine is started again; empty where there is none."""
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return ""
