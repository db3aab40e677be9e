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

from nextpatch.core.locks import locked
from nextpatch.data.error import DataError
from nextpatch.data.storage.bounded import BoundedFile, TooLongError
from nextpatch.data.storage.disk_quota import LOCK, NOTE, PART, begin, discard, finish, give_up
from nextpatch.data.storage.read import CHUNK, read_range, retried, version_of
from nextpatch.data.storage.url import filesystem, is_remote, local_path

DEFAULT_GIB = 50
_JOURNAL_BYTES = 2**20


class Fetched(NamedTuple):
    """What was fetched into a cache, by all processes: bytes, and the seconds that the transfers took, added up."""

    bytes: int
    seconds: float


def default_cache() -> Cache:
    """In $NEXTPATCH_CACHE (~/.cache/nextpatch), of at most $NEXTPATCH_CACHE_GIB (50)."""
    root = Path(os.environ.get("NEXTPATCH_CACHE") or "~/.cache/nextpatch").expanduser()
    told = os.environ.get("NEXTPATCH_CACHE_GIB") or str(DEFAULT_GIB)
    try:
        return Cache(root, int(float(told) * 2**30))
    except (ValueError, OverflowError):
        raise DataError(f"$NEXTPATCH_CACHE_GIB is '{told}', not a number of GiB; set it to one, like 200") from None


class Cache:
    """Whole files under `root`/files, together at most `cap_bytes`, shared by all processes of a machine.

    A fetch that was killed goes on where it stopped. A file that is given up stays readable for whoever has it open.
    """

    def __init__(self, root: Path, cap_bytes: int) -> None:
        self.root = root
        self.cap_bytes = cap_bytes
        self._files = root / "files"
        self._journal = root / "fetched.jsonl"

    def holds(self, location: str) -> bool:
        """Whether a file is near already."""
        return not is_remote(location) or self._path(location).exists()

    def local(self, location: str, size: int | None = None) -> Path:
        """The path of the whole file, fetched if it is not near; local places as they are.

        `size`, where given, is what the file must have. OSError when it cannot be fetched, has another size, or does
        not fit.
        """
        if not is_remote(location):
            return local_path(location)
        path = self._path(location)
        if not self._used(path, size):
            path.parent.mkdir(parents=True, exist_ok=True)
            with locked(Path(f"{path}{LOCK}")):  # the lock of a killed process is free again
                if not self._used(path, size):  # another process was faster
                    self._fetch(location, path, size)
        return path

    def fetched(self, since: float = 0.0) -> Fetched:
        """What was fetched since a time (of time.time())."""
        count, seconds = 0, 0.0
        for line in reversed(_lines(self._journal)):
            with contextlib.suppress(ValueError, KeyError, TypeError):  # a line that was cut when its writer was killed
                entry = json.loads(line)
                if entry["at"] < since:
                    break
                count, seconds = count + entry["bytes"], seconds + entry["seconds"]
        return Fetched(count, seconds)

    def _path(self, location: str) -> Path:
        name = hashlib.sha256(location.encode("utf-8", "surrogateescape")).hexdigest()
        plain = re.sub(r"[^A-Za-z0-9._-]", "_", location.rpartition("/")[2])[-80:]
        ours = plain.endswith((PART, NOTE, LOCK))
        return self._files / name[:2] / f"{name[:32]}-{plain}{'_' if ours else ''}"

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

    def _fetch(self, location: str, path: Path, size: int | None) -> None:
        start, part = time.monotonic(), path.with_name(path.name + PART)
        version = version_of(location)
        expected = self._expected(location, size, version.get("size"))
        had = begin(self._files, self.cap_bytes, part, version, expected or 0)
        self._bring(location, part, had, expected)
        if version_of(location) != version:
            discard(part)
            raise OSError(f"{location} changed while it was fetched; try again")
        finish(part, path)
        self._report(location, path.stat().st_size - had, time.monotonic() - start)

    def _expected(self, location: str, size: int | None, found: str | None) -> int | None:
        """Bytes that will come; None when nobody knows. OSError when they are not `size`, or more than fit."""
        if size is not None and found is not None and int(found) != size:
            raise OSError(f"{location} has {int(found):,} bytes, expected {size:,}; was it replaced? Index it again")
        expected = int(found) if found is not None else size
        if expected is not None and expected > self.cap_bytes:
            raise OSError(
                f"{location} has {expected:,} bytes, more than the cache may hold ({self.cap_bytes:,}); "
                "raise $NEXTPATCH_CACHE_GIB"
            )
        return expected

    def _bring(self, location: str, part: Path, had: int, expected: int | None) -> None:
        """The whole file into `part`, of which `had` bytes are here."""
        try:
            if expected is None:
                self._write_unmeasured(location, part)
            else:
                self._write(location, part, had, expected)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise OSError(
                errno.ENOSPC,
                f"no space for {location} in {self.root}; free some, or set $NEXTPATCH_CACHE to another disk",
            ) from error

    def _write(self, location: str, part: Path, had: int, expected: int) -> None:
        """The rest of a file, synced to the disk; chunk by chunk, so that a lost connection costs one chunk."""
        with part.open("r+b") as file:
            file.seek(had)
            for at in range(had, expected, CHUNK):
                self._put(file, read_range(location, at, min(CHUNK, expected - at)))
            file.flush()
            os.fsync(file.fileno())

    def _write_unmeasured(self, location: str, part: Path) -> None:
        """A file of which the server does not say how long it is, in one piece."""
        fs, path = filesystem(location)

        def get() -> None:
            with part.open("wb") as file:
                fs.get_file(path, BoundedFile(file, self.cap_bytes))

        try:
            retried(location, get)
        except TooLongError:
            discard(part)
            raise OSError(
                f"{location} has no stated length, and more bytes than the cache may hold ({self.cap_bytes:,}); "
                "raise $NEXTPATCH_CACHE_GIB"
            ) from None

    def _put(self, file: Any, data: bytes) -> None:
        """Write and flush; when the disk is full, give up what is old and try once more."""
        at = file.tell()
        try:
            file.write(data)
            file.flush()
        except OSError as error:
            if error.errno != errno.ENOSPC or not give_up(self._files, len(data)):
                raise
            file.seek(at)
            file.write(data)
            file.flush()

    def _report(self, location: str, count: int, seconds: float) -> None:
        """A line for the journal, which starts anew when it is long."""
        if self._journal.exists() and self._journal.stat().st_size > _JOURNAL_BYTES:
            self._journal.unlink(missing_ok=True)
        line = json.dumps({"at": time.time(), "place": location, "bytes": count, "seconds": round(seconds, 3)})
        with self._journal.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def _lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
