"""One writer for each output folder or file: a lock that says who holds it, and that a dead holder frees."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nextpatch.core.errors import UserError
from nextpatch.core.files import UNFINISHED
from nextpatch.core.locks import lock_for_process
from nextpatch.core.text import shown

log = logging.getLogger(__name__)
BEAT_S = 10.0  # how often a writer shows that it lives, for machines that do not see its process
WATCHED_S = 30.0  # how long a writer of another machine is watched for such a sign before it counts as dead
LOCK = ".nextpatch.lock"


@dataclass
class _Held:
    """A lock of this process: its handle, whether its folder was made for it, the end of its signs of life."""

    handle: int
    made: bool
    ended: threading.Event
    entered: int = 0


_held: dict[Path, _Held] = {}
_entering = threading.RLock()


class InUseError(UserError):
    """Another process writes to this output now; the message says which."""


@contextlib.contextmanager
def only_writer(out: Path, verb: str, *, file: bool = False) -> Iterator[None]:
    """Hold the output `out`, a folder or with `file` a file, for this process; InUseError when another one holds it.

    The folder is made where it is missing, and goes away again when nothing was put into it. The lock is a file,
    `lock_of(out)`: the kernel's lock on it, which ends with its process however that ends and is not passed on to
    children, and in it who holds it (host, process, start, verb). A lock left by a dead process is taken over, and the
    log says so. Where locks do not reach (some network file systems), a writer on another machine is known by its sign
    of life every ten seconds. Within one process it may be entered again.
    """
    path = lock_of(out, file)
    owner = os.getpid()
    with _entering:
        held = _held.get(path)
        if held is None:
            made = not path.parent.exists()
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                held = _Held(_taken(path, out, verb), made, threading.Event())
            except OSError as error:
                raise UserError(f"{shown(out)} cannot be written: {error.strerror}; choose another place") from error
            threading.Thread(target=_beat, args=(path, held.ended), daemon=True).start()
            _held[path] = held
        held.entered += 1
    try:
        yield
    finally:
        if os.getpid() == owner:  # a forked child leaves the lock to its parent
            with _entering:
                held.entered -= 1
                if not held.entered:
                    del _held[path]
                    held.ended.set()
                    _released(path, held.handle, held.made)


def is_new(out: Path, beside: Sequence[str] = ()) -> bool:
    """Whether an output folder is absent or empty, but for files named `beside`, a lock and what a kill at the very
    start leaves."""
    if not out.exists():
        return True
    return out.is_dir() and all(
        path.name in (LOCK, *beside) or (path.name.startswith(".") and path.name.endswith(UNFINISHED))
        for path in out.iterdir()
    )


def lock_of(out: Path, file: bool = False) -> Path:
    """The lock file of an output: in a folder, beside a file."""
    whole = Path(os.path.abspath(out))  # noqa: PTH100 - resolve() would follow a link that is the output
    whole = whole.parent.resolve() / whole.name if file else whole.resolve()  # one lock, however a folder is named
    return whole.with_name(f".{whole.name}.lock") if file else whole / LOCK


def _released(path: Path, handle: int, made: bool) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
    os.close(handle)
    if made:
        with contextlib.suppress(OSError):  # not empty, as it should be
            path.parent.rmdir()


def _taken(path: Path, out: Path, verb: str) -> int:
    """A handle of the lock file, locked and filled with who we are."""
    while True:
        handle = _opened(path)
        try:
            sees_locks = _locked(handle, path, out)
            if _same(handle, path):
                _check_holder(handle, path, out, sees_locks)
                facts = {"host": socket.gethostname(), "pid": os.getpid(), "start": time.time(), "verb": verb}
                os.ftruncate(handle, 0)
                os.pwrite(handle, json.dumps(facts).encode(), 0)
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # its last holder removed it between our opening and locking it


def _opened(path: Path) -> int:
    """The lock file, made where it is missing. UserError for what is no plain file: through a link that someone else
    put there another file would be overwritten."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise UserError(f"{shown(path)} is where nextpatch needs a lock file, and is not a regular file; remove it")
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)  # a link that came meanwhile
    return os.open(path, flags, 0o666)


def _locked(handle: int, path: Path, out: Path) -> bool:
    """Lock the file; False where the file system has no locks. InUseError when another process has it."""
    try:
        return lock_for_process(handle, path)
    except (BlockingIOError, PermissionError):
        raise _in_use(path, out, _read(handle)) from None


def _check_holder(handle: int, path: Path, out: Path, sees_locks: bool) -> None:
    """Take over from the holder in the file: said when it is dead, InUseError when it lives where no locks reach."""
    last = _read(handle)
    if not last:
        return
    here = last.get("host") == socket.gethostname()
    if (here and not sees_locks and _alive(last)) or (not here and _beats(path, out, last)):
        raise _in_use(path, out, last)
    log.warning("%s was left unfinished by %s, which has ended; it is taken over", shown(out), _who(last))


def _beats(path: Path, out: Path, holder: dict[str, Any]) -> bool:
    """Whether a holder on another machine gives a sign of life."""
    seen, until = path.stat().st_mtime_ns, time.monotonic() + WATCHED_S
    log.info("%s: watching for %.0f s whether %s still writes", shown(out), WATCHED_S, _who(holder))
    while time.monotonic() < until:
        time.sleep(min(1.0, WATCHED_S / 10))
        with contextlib.suppress(OSError):
            if path.stat().st_mtime_ns != seen:
                return True
    return False


def _in_use(path: Path, out: Path, holder: dict[str, Any]) -> InUseError:
    return InUseError(
        f"{shown(out)} is being written by {_who(holder)}; wait for it, stop it, or choose another output. If that "
        f"process is gone, remove {shown(path)}"
    )


def _who(holder: dict[str, Any]) -> str:
    try:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(holder["start"])))
        return shown(f"nextpatch {holder['verb']}, process {holder['pid']} on {holder['host']}, begun {since}")
    except (KeyError, ValueError, TypeError, OverflowError, OSError):
        return "another process"


def _alive(holder: dict[str, Any]) -> bool:
    try:
        os.kill(int(holder["pid"]), 0)
    except (ProcessLookupError, KeyError, ValueError, TypeError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _same(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _read(handle: int) -> dict[str, Any]:
    try:
        value = json.loads(os.pread(handle, 65536, 0))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _beat(path: Path, ended: threading.Event) -> None:
    while not ended.wait(BEAT_S):
        with contextlib.suppress(OSError):
            os.utime(path)
