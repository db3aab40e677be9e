"""Remote files kept near: each fetched once per machine, within a limit of bytes, the least recently used given up."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import time
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock

from nextpatch.data.storage.read import CHUNK, read_range, retried, version_of
from nextpatch.data.storage.url import filesystem, is_remote, local_path

DEFAULT_GIB = 50
FRESH_S = 10.0  # used so recently that it is not given up
_JOURNAL_BYTES = 4 * 2**20


class Fetched(NamedTuple):
    """What was fetched into a cache, by all processes: bytes, and the seconds that the transfers took, added up."""

    bytes: int
    seconds: float


def default_cache() -> Cache:
    """In $NEXTPATCH_CACHE (~/.cache/nextpatch), of at most $NEXTPATCH_CACHE_GIB (50)."""
    root = Path(os.environ.get("NEXTPATCH_CACHE") or "~/.cache/nextpatch").expanduser()
    gib = float(os.environ.get("NEXTPATCH_CACHE_GIB") or DEFAULT_GIB)
    return Cache(root, int(gib * 2**30))


class Cache:
    """Whole files under `root`/files, together at most `cap_bytes`, shared by all processes of a machine.

    A fetch that was killed goes on where it stopped. A file that is given up stays readable for whoever has it open.
    """

    def __init__(self, root: Path, cap_bytes: int) -> None:
        self.root = root
        self.cap_bytes = cap_bytes
        self._files = root / "files"
        self._journal = root / "fetched.jsonl"

    def holds(self, place: str) -> bool:
        """Whether a file is near already."""
        return not is_remote(place) or self._path(place).exists()

    def local(self, place: str, size: int | None = None) -> Path:
        """The path of the whole file, fetched if it is not near; local places as they are.

        `size`, where given, is what the file must have. OSError when it cannot be fetched, has another size, or does
        not fit.
        """
        if not is_remote(place):
            return local_path(place)
        path = self._path(place)
        if not self._used(path, size):
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{path}.lock"):  # the lock of a killed process is free again
                if not self._used(path, size):  # another process was faster
                    self._fetch(place, path, size)
        return path

    def fetched(self, since: float = 0.0) -> Fetched:
        """What was fetched since a time (of time.time())."""
        entries = []
        with contextlib.suppress(OSError, ValueError):
            entries = [json.loads(line) for line in self._journal.read_text(encoding="utf-8").splitlines()]
        late = [entry for entry in entries if entry["at"] >= since]
        return Fetched(sum(entry["bytes"] for entry in late), sum(entry["seconds"] for entry in late))

    def _path(self, place: str) -> Path:
        name = hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()
        plain = re.sub(r"[^A-Za-z0-9._-]", "_", place.rpartition("/")[2])[-80:]
        return self._files / name[:2] / f"{name[:32]}-{plain}"

    def _used(self, path: Path, size: int | None) -> bool:
        """Whether the file is there, whole; it is marked as used."""
        try:
            if size is not None and path.stat().st_size != size:
                path.unlink()
                return False
            os.utime(path)
        except FileNotFoundError:
            return False
        return True

    def _fetch(self, place: str, path: Path, size: int | None) -> None:
        start, part = time.monotonic(), path.with_name(f"{path.name}.part")
        version = version_of(place)
        found = int(version["size"]) if "size" in version else None
        if size is not None and found is not None and found != size:
            raise OSError(f"{place} has {found:,} bytes, expected {size:,}; was it replaced? Index it again")
        expected = found if found is not None else size
        if expected is not None and expected > self.cap_bytes:
            raise OSError(
                f"{place} has {expected:,} bytes, more than the cache may hold ({self.cap_bytes:,}); "
                "raise $NEXTPATCH_CACHE_GIB"
            )
        had = _resumable(part, version, expected)
        self._make_room((expected or 0) - had)
        try:
            self._write(place, part, had, expected)
            if version_of(place) != version:
                raise OSError(f"{place} changed while it was fetched; try again")
        except OSError as error:
            if error.errno != errno.ENOSPC:
                if had == expected or "changed while" in str(error):
                    part.unlink(missing_ok=True)
                raise
            raise OSError(
                errno.ENOSPC, f"no space for {place} in {self.root}; free some, or set $NEXTPATCH_CACHE to another disk"
            ) from error
        part.replace(path)
        _note_of(part).unlink(missing_ok=True)
        self._report(place, path.stat().st_size - had, time.monotonic() - start)

    def _write(self, place: str, part: Path, had: int, expected: int | None) -> None:
        """The rest of a file, synced to the disk; chunk by chunk, so that a lost connection costs one chunk."""
        with part.open("r+b" if had else "wb") as file:
            file.seek(had)
            if expected is None:
                fs, path = filesystem(place)
                file.write(retried(place, lambda: fs.cat_file(path)))
            for at in range(had, expected or 0, CHUNK):
                data = read_range(place, at, min(CHUNK, (expected or 0) - at))
                self._put(file, data)
            file.flush()
            os.fsync(file.fileno())

    def _put(self, file: Any, data: bytes) -> None:
        """Write and flush; when the disk is full, give up what is old and try once more."""
        at = file.tell()
        try:
            file.write(data)
            file.flush()
        except OSError as error:
            if error.errno != errno.ENOSPC or not self._make_room(len(data), full=True):
                raise
            file.seek(at)
            file.write(data)
            file.flush()

    def _make_room(self, needed: int, full: bool = False) -> bool:
        """Give up the least recently used files until `needed` bytes fit (or, on a `full` disk, are freed)."""
        self.root.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{self.root / 'evict'}.lock"):
            files = sorted(_files_with_sizes(self._files))
            used, freed = sum(size for _, size, _ in files), 0
            for last_used, size, path in files:
                if (freed >= needed) if full else (used - freed + needed <= self.cap_bytes):
                    break
                if path.suffix in (".part", ".lock", ".json") or time.time() - last_used < FRESH_S:
                    continue
                path.unlink(missing_ok=True)
                freed += size
        return freed > 0

    def _report(self, place: str, count: int, seconds: float) -> None:
        """A line for the journal, which starts anew when it is long."""
        if self._journal.exists() and self._journal.stat().st_size > _JOURNAL_BYTES:
            self._journal.unlink(missing_ok=True)
        line = json.dumps({"at": time.time(), "place": place, "bytes": count, "seconds": round(seconds, 3)})
        with self._journal.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def _files_with_sizes(folder: Path) -> list[tuple[float, int, Path]]:
    """(last used, size, path) of every file; those that vanish meanwhile are left out."""
    found = []
    for path in folder.rglob("*") if folder.exists() else ():
        with contextlib.suppress(OSError):
            status = path.stat()
            if path.is_file():
                found.append((status.st_mtime, status.st_size, path))
    return found


def _note_of(part: Path) -> Path:
    return part.with_suffix(".json")


def _resumable(part: Path, version: dict[str, Any], expected: int | None) -> int:
    """Bytes of a fetch that was killed and can go on; what is of another version is removed, the new one noted."""
    note = _note_of(part)
    with contextlib.suppress(OSError, ValueError):
        if expected is not None and json.loads(note.read_text(encoding="utf-8")) == version:
            had = part.stat().st_size
            if had <= expected:
                return had
    part.unlink(missing_ok=True)
    note.write_text(json.dumps(version), encoding="utf-8")
    return 0
