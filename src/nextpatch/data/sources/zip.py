"""Images in a .zip file, as they are: any member by number, nothing is extracted."""

from __future__ import annotations

import contextlib
import logging
import os
import posixpath
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nextpatch.core.text import shown
from nextpatch.data.error import DataError
from nextpatch.data.formats import START
from nextpatch.data.sources.contents import contents_from, log_left_out
from nextpatch.data.sources.layout import by_folder, refuse_splits
from nextpatch.data.sources.source import digest_of

log = logging.getLogger(__name__)
MAX_MEMBER = 256 * 2**20
_LOCAL = struct.Struct("<4s22xHH")  # the mark of a member, the lengths of its name and of what follows that
_MARK = b"PK\x03\x04"
_ENCRYPTED = 1
_BLOCK = 4096  # bytes of a member that are inflated to tell its format


class _Member(NamedTuple):
    start: int
    stored: int  # bytes in the archive
    size: int
    crc32: int
    deflated: bool


class ZipSource:
    """The images of a local .zip file, stored or deflated, sorted by name; folders in it are as `FolderSource`'s.

    Members are read at their place by number, so forked processes may share the file. Sizes are checked before memory
    is taken, and every member against its CRC-32.
    """

    def __init__(self, path: Path) -> None:
        self.name, self._path, self._file = str(path), path, -1
        listed = _listed(path)
        contents = contents_from(listed, lambda name: self._first(listed[name]))
        for kind in ("zip", "tar", "parquet"):
            if inside := getattr(contents, kind):
                contents.left_out[f".{kind}"] += len(inside)
        names, self.left_out = contents.images, contents.summary()
        if not names:
            there = f"; there are {self.left_out}" if self.left_out else ""
            raise DataError(f"no images in {shown(path)}{there}; give a .zip that holds image files")
        refuse_splits(self.name, names)
        if self.left_out:
            log_left_out(self.name, self.left_out, contents.matters())
        self.names, self._members = names, [_member(listed[name], path) for name in names]
        self.digest = digest_of(f"{name} {m.size} {m.crc32}" for name, m in zip(names, self._members, strict=True))
        self.shard_sizes = np.array([len(names)])
        self.random_access, self.remote = True, False
        self.classes, self._labels, self.why_unlabeled = by_folder(names)

    def __getstate__(self) -> dict[str, Any]:
        """What a worker process needs: everything but the open file."""
        return self.__dict__ | {"_file": -1}

    def __del__(self) -> None:
        if getattr(self, "_file", -1) >= 0:
            with contextlib.suppress(OSError):
                os.close(self._file)

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int) -> bytes:
        """The member's bytes; OSError when they cannot be read, or are not those that were archived."""
        member = self._members[index]
        if member.size > MAX_MEMBER:
            raise OSError(f"has {member.size:,} bytes, more than {MAX_MEMBER >> 20} MiB")
        data = self._stored(member, member.stored)
        if member.deflated:
            data = _inflated(data, member.size)
        if len(data) != member.size or zlib.crc32(data) != member.crc32:
            raise OSError("the archive is damaged: these are not the bytes that were archived")
        return data

    def _stored(self, member: _Member, count: int) -> bytes:
        """So many of the member's bytes, as they lie in the archive."""
        if self._file < 0:
            self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        front = os.pread(self._file, _LOCAL.size, member.start)
        if len(front) < _LOCAL.size or not front.startswith(_MARK):
            raise OSError("the archive is damaged: no member where its list says")
        _, name, extra = _LOCAL.unpack(front)
        return os.pread(self._file, count, member.start + _LOCAL.size + name + extra)

    def _first(self, info: zipfile.ZipInfo) -> bytes:
        """How a member begins, enough to tell a format; nothing where it cannot be read."""
        try:
            member = _member(info, self._path)
            data = self._stored(member, min(member.stored, _BLOCK))
            return _inflated(data, START) if member.deflated else data[:START]
        except (DataError, OSError):
            return b""

    def key(self, index: int) -> str:
        """The archive, and the member's name in it."""
        return f"{self.name}#{self.names[index]}"

    def label(self, index: int) -> int | None:
        """The number of its class folder."""
        return int(self._labels[index]) if self.classes else None

    def files(self) -> list[Path]:
        """The archive."""
        return [self._path]

    def prefetch(self, shard: int) -> None:
        """Nothing to do: the archive is here."""


def _listed(path: Path) -> dict[str, zipfile.ZipInfo]:
    """The files in the archive's list by name; DataError when it cannot be used."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if info.filename]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise DataError(f"{shown(path)} is not a readable .zip file ({reason}); is it whole? Fetch it again") from None
    if not any("/" in info.filename for info in members):  # Windows' slashes; a standard forbids them
        named = {info.filename.replace("\\", "/"): info for info in members}
    else:
        named = {info.filename: info for info in members}
    named = {posixpath.normpath(name) + "/" * name.endswith("/"): info for name, info in named.items()}
    if len(named) < len(members):
        log.warning(
            "%s holds %s files under the name of another; the last of a name is read",
            shown(path),
            len(members) - len(named),
        )
    return {name: info for name, info in named.items() if not name.endswith("/")}


def _member(info: zipfile.ZipInfo, path: Path) -> _Member:
    deflated = info.compress_type == zipfile.ZIP_DEFLATED
    if info.flag_bits & _ENCRYPTED or not (deflated or info.compress_type == zipfile.ZIP_STORED):
        how = "encrypted" if info.flag_bits & _ENCRYPTED else "compressed in an unusual way"
        raise DataError(f"{shown(path)}: {shown(info.filename)} is {how}; unpack the archive and give the folder")
    return _Member(info.header_offset, min(info.compress_size, 2 * MAX_MEMBER), info.file_size, info.CRC, deflated)


def _inflated(data: bytes, size: int) -> bytes:
    """At most one byte more than there should be."""
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size + 1)
    except zlib.error as error:
        raise OSError(f"the archive is damaged: {error}") from None
