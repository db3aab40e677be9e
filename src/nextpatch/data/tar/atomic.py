"""Small files that appear whole or not at all, and one writer at a time."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from nextpatch.core.files import naming, sync
from nextpatch.core.text import shown

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)
UNFINISHED = ".part"


def write_whole(path: Path, data: bytes) -> None:
    """Write aside, sync, rename: after a crash at any moment the old file is there, or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{os.getpid()}{UNFINISHED}")
    try:
        with naming(path), aside.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        aside.rename(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync(path.parent)


@contextlib.contextmanager
def one_writer(folder: Path) -> Iterator[None]:
    """Wait until no other process of this machine writes into `folder`; a killed one frees it."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        _wait_for_others(handle, folder)
        for left in (*folder.glob(f"*.json.*{UNFINISHED}"), *folder.glob(f"index/*.idx.*{UNFINISHED}")):
            left.unlink(missing_ok=True)
        yield
    finally:
        os.close(handle)


def _wait_for_others(handle: int, folder: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.warning("another process is indexing into %s; waiting for it", shown(folder))
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError as error:  # a file system without locks: two may do the same work, each file still whole
        log.debug("no lock on %s: %s", folder, error)
