"""Room on the disk for the files of a cache: what is on its way counts in full, the least recently used is given up."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

from nextpatch.core.locks import locked
from nextpatch.core.machine import boot_id

log = logging.getLogger(__name__)
PART, NOTE, LOCK = ".part", ".note", ".lock"
FRESH_S = 10.0  # used so recently that whoever asked for it may not have opened it yet
WAIT_S = 6 * FRESH_S
_POLL_S = 0.1


class _File(NamedTuple):
    last_used: float
    size: int  # what it has, or will have once it is here
    path: Path


def begin(folder: Path, cap_bytes: int, part: Path, version: dict[str, Any], size: int) -> int:
    """Bytes that are here already of a fetch into `part`, of `size` bytes in all, for which room is made.

    A fetch that was killed goes on when the server still has the same `version` and the machine was not restarted since
    (what was not synced may be holes). While everything is in use this waits; after WAIT_S it goes over the cap, and
    says so.
    """
    note = {"version": version, "size": size, "boot": boot_id()}
    if _noted(part) != note or not part.exists() or part.stat().st_size > size:
        discard(part)
    end = time.monotonic() + WAIT_S
    while not _reserved(folder, cap_bytes, part, note):
        if time.monotonic() > end:
            log.warning(
                "the cache in %s is too small for the files in use at once; raise $NEXTPATCH_CACHE_GIB",
                folder,
            )
            _claim(part, note)
            break
        time.sleep(_POLL_S)
    return part.stat().st_size


def finish(part: Path, path: Path) -> None:
    """The fetched file under its name."""
    part.replace(path)
    _note_of(part).unlink(missing_ok=True)


def discard(part: Path) -> None:
    """Nothing of a fetch is kept."""
    part.unlink(missing_ok=True)
    _note_of(part).unlink(missing_ok=True)


def give_up(folder: Path, needed: int) -> bool:
    """Free `needed` bytes of a full disk; whether anything could be freed."""
    with _one_at_a_time(folder):
        return _removed(_files(folder), needed) > 0


def _reserved(folder: Path, cap_bytes: int, part: Path, note: dict[str, Any]) -> bool:
    """Whether all of a file fits now; if so, it is claimed."""
    with _one_at_a_time(folder):
        others = [file for file in _files(folder) if file.path != part]
        over = sum(file.size for file in others) + note["size"] - cap_bytes
        if over > 0 and _removed(others, over) < over:
            return False
        _claim(part, note)
        return True


def _claim(part: Path, note: dict[str, Any]) -> None:
    """From now on others count the whole file."""
    _note_of(part).write_text(json.dumps(note), encoding="utf-8")
    part.touch()


def _one_at_a_time(folder: Path) -> AbstractContextManager[None]:
    folder.mkdir(parents=True, exist_ok=True)
    return locked(folder.parent / f"evict{LOCK}")


def _removed(files: list[_File], needed: int) -> int:
    """Bytes freed, at least `needed` unless the rest is in use: the least recently used first."""
    freed = 0
    for file in sorted(files):
        if freed >= needed or time.time() - file.last_used < FRESH_S:
            break
        if file.path.suffix == PART:
            freed += file.size if _abandoned(file.path) else 0
        else:
            file.path.unlink(missing_ok=True)
            freed += file.size
    return freed


def _abandoned(part: Path) -> bool:
    """Whether nobody goes on with a fetch; then what there is of it goes."""
    try:
        with locked(Path(f"{part.with_suffix('')}{LOCK}"), wait=False):
            discard(part)
    except BlockingIOError:
        return False
    return True


def _files(folder: Path) -> list[_File]:
    """All files, those on their way with the size that they will have; what vanishes meanwhile is left out."""
    return [file for path in folder.glob("*/*") if path.suffix not in (NOTE, LOCK) for file in _seen(path)]


def _seen(path: Path) -> Iterator[_File]:
    with contextlib.suppress(OSError):
        status = path.stat()
        coming = _noted(path).get("size", 0) if path.suffix == PART else 0
        yield _File(status.st_mtime, max(status.st_size, coming), path)


def _noted(part: Path) -> dict[str, Any]:
    """What was written when a fetch began; nothing where that is not there or damaged."""
    try:
        found = json.loads(_note_of(part).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _note_of(part: Path) -> Path:
    return part.with_suffix(NOTE)
