"""What this process may use of its machine: processors, memory; and the time of the machine's start."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_OWN_GROUPS, _GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")  # limits of containers and of batch systems
_UNKNOWN_MEMORY = 4 * 2**30  # where the system does not say: a small machine's


def usable_cores() -> int:
    """How many processors this process may use: by its affinity, and by the quota of its container or job."""
    asked = getattr(os, "sched_getaffinity", None)  # Linux alone
    cores = len(asked(0)) if asked else os.cpu_count() or 1
    quotas = [_quota(folder) for folder in _groups("cpu")]
    return max(1, min([cores, *(round(quota) for quota in quotas if quota is not None)]))


def memory_bytes() -> int:
    """The memory that this process may use: the machine's, or the limit of its container or job.

    A small machine's where the system does not say.
    """
    memory = _UNKNOWN_MEMORY
    with contextlib.suppress(AttributeError, ValueError, OSError):
        memory = max(1, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    names = ("memory.max", "memory.limit_in_bytes")
    limits = [_number(folder / name) for folder in _groups("memory") for name in names]
    return min([memory, *(int(limit) for limit in limits if limit)])


def _groups(controller: str) -> Iterator[Path]:
    """The folders of Linux's control groups that bind this process, the innermost first; none elsewhere."""
    try:
        lines = _OWN_GROUPS.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        root = _GROUPS / controller if controllers else _GROUPS  # version 1 has a tree for each controller
        if not controllers or controller in controllers.split(","):
            inner = Path(path.lstrip("/"))
            yield from (root / folder for folder in (inner, *inner.parents))


def _quota(folder: Path) -> float | None:
    """The processors that a control group may keep busy; None where it may all."""
    try:
        quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        return int(quota) / int(period)
    except (OSError, ValueError):
        quota_us, period_us = (_number(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
        return quota_us / period_us if quota_us and period_us else None


def _number(path: Path) -> float | None:
    """The number above 0 in a file; None where there is no file, or it says that there is no limit."""
    try:
        return max(0, int(path.read_text(encoding="ascii"))) or None
    except (OSError, ValueError):
        return None


def boot_id() -> str:
    """A text that changes when the machine is started again; empty where there is none."""
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return ""
