"""Locks on files between processes. The kernel frees those of a process that has ended, however it ended."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nextpatch.core.text import shown

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)


@contextmanager
def locked(path: Path, *, wait: bool = True, task: str = "") -> Iterator[None]:
    """Hold the lock file `path`, made where it is missing, against all other processes and threads.

    While another one holds it, this waits, and the log says for what `task`, where one is named; without `wait` it
    raises BlockingIOError. Where the file system has no locks, nothing is held: whoever writes must then be able to
    bear a second writer, as with files that appear whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        _acquire(handle, path, wait, task)
        yield
    finally:
        _release(handle)


def lock_for_process(handle: int, path: Path) -> bool:
    """Lock an open file for this process alone: forked children do not inherit it, and closing any handle frees it.

    False where the file system has no locks. BlockingIOError or PermissionError when another process holds it.
    """
    if fcntl is None:
        return False
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        raise
    except OSError as error:
        log.debug("no lock on %s: %s", path, error)
        return False
    return True


def _acquire(handle: int, path: Path, wait: bool, task: str) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if not wait:
            raise
        if task:
            log.warning("another process is %s in %s; waiting for it", task, shown(path.parent))
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError as error:
        log.debug("no lock on %s: %s", path, error)


def _release(handle: int) -> None:
    """Free the lock also for a child that was forked meanwhile, which still has the handle."""
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_UN)
    except OSError as error:
        log.debug("no lock to free: %s", error)
    finally:
        os.close(handle)
