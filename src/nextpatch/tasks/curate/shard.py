"""Write one tar shard: always the same bytes for the same samples, and there whole or not at all."""

from __future__ import annotations

import hashlib
import os
import tarfile
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from nextpatch.core.files import sync

_BLOCK = tarfile.BLOCKSIZE
END = 2 * _BLOCK  # two blocks of zeros close an archive
_UNFINISHED = ".part"


class Written(NamedTuple):
    """A finished shard: file name, samples, size in bytes, SHA-256 in hexadecimal."""

    name: str
    samples: int
    bytes: int
    sha256: str


class ShardWriter:
    """A shard on its way; `finish` publishes it. Left without that, whatever was written is removed."""

    def __init__(self, path: Path) -> None:
        self._path, self._aside = path, path.with_name(path.name + _UNFINISHED)
        self._file = self._aside.open("wb")
        self._sha256 = hashlib.sha256()
        self.samples, self.bytes = 0, 0  # so far, without the end of the archive

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._file.closed:
            self._file.close()
            self._aside.unlink(missing_ok=True)

    def add(self, files: dict[str, bytes]) -> None:
        """One sample: its files by name, in this order."""
        for name, data in files.items():
            self._write(_header(name, len(data)))
            self._write(data)
            self._write(bytes(-len(data) % _BLOCK))
        self.samples += 1

    def finish(self) -> Written:
        """Close the archive, see that it is on the disk, and give it its name."""
        self._write(bytes(END))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._aside.rename(self._path)
        sync(self._path.parent)
        return Written(self._path.name, self.samples, self.bytes, self._sha256.hexdigest())

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._sha256.update(data)
        self.bytes += len(data)


def stored_bytes(files: dict[str, bytes]) -> int:
    """What a sample takes in a shard: a header for each file, and its content in whole blocks."""
    return sum(_BLOCK + len(data) + -len(data) % _BLOCK for data in files.values())


def _header(name: str, size: int) -> bytes:
    """Owner, time and mode say nothing of the machine: equal samples make equal archives."""
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o644, 0
    return member.tobuf(tarfile.USTAR_FORMAT)
