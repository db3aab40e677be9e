"""The regular files of a tar archive, one after another, from a stream that may be damaged or hostile.

Nothing is extracted and no name is used as a path. A damaged header is noted with its place, and the walk goes on at
the next block that is a header, so that one flipped bit costs one member. What ends early, claims more than there is
or has no end mark is noted too: unlike the standard library's reader, this one never takes a part for the whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from nextpatch.data.error import DataError
from nextpatch.data.tar.hashing_reader import ByteStream, HashingReader, ReadBytes
from nextpatch.data.tar.header import (
    BLOCK,
    MAX_EXTENSION,
    MAX_NAME,
    ZEROS,
    Extension,
    HeaderError,
    TarHeader,
    magic,
    parse,
    parse_pax,
)

MAX_MEMBERS = 10_000_000
_NOTES = 3  # of damage, in words; the others are counted
_REGULAR = (b"0", b"\0", b"7")
_EXTENSIONS = (b"L", b"x", b"X")
_GENERAL = (b"g", b"K", b"V")  # about the archive as a whole, or where a link leads
_WITHOUT_DATA = {b"1": "link", b"2": "link", b"3": "device", b"4": "device", b"5": "folder", b"6": "pipe"}
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


class Member(NamedTuple):
    """A regular file that is wholly there."""

    name: bytes
    start: int  # of its header
    offset: int  # of its data
    size: int
    crc32: int
    content: bytes  # its first bytes, as many as were asked for


class TarReader:
    """Iterate once for the members; after that `notes` says what is damaged and `skipped` what was left out.

    `size`: the stream's length, None when it is not known. `keep`: how many bytes of a file of this name to hand over.
    DataError, naming `location`, for a compressed archive and for one of more than MAX_MEMBERS headers.
    """

    def __init__(self, stream: ByteStream, size: int | None, location: str, keep: Callable[[bytes], int]) -> None:
        self.hashed = HashingReader(stream, size)
        self.skipped: Counter[str] = Counter()
        self._location, self._keep = location, keep
        self._notes: list[str] = []
        self._damaged = 0
        self._headers = 0
        self._magic = b"ustar"

    def __iter__(self) -> Iterator[Member]:
        lost, ended, zeros = False, False, 0
        extension: Extension | None = None
        while len(block := self.hashed.take(BLOCK)) == BLOCK:
            start = self.hashed.position - BLOCK
            if block == ZEROS:
                zeros += 1
                ended |= zeros > 1 and not lost
                continue
            try:
                header = self._header(block, start, lost)
                if zeros and not lost:
                    self._note(start, "members follow an end mark (blocks set to zero, or archives joined end to end)")
                lost, ended, zeros = False, False, 0
                if header.kind in _EXTENSIONS:
                    extension = self._extension(header, start, extension)
                    continue
                member = self._member(header, start, extension)
                extension = None
            except HeaderError as error:
                if not lost:
                    self._note(start, str(error))
                lost, zeros, extension = True, 0, None
                continue
            if member:
                yield member
        if not ended and zeros < 2:
            self._note(self.hashed.position, "the end mark is missing: cut short")
        elif block.strip(b"\0"):
            self._note(self.hashed.position, "something follows the end mark")

    @property
    def damage(self) -> str:
        """What is damaged and where, in words; empty for an archive that is whole."""
        more = self._damaged - len(self._notes)
        return "; ".join(self._notes) + (f"; and {more} more" if more else "")

    def _header(self, block: bytes, start: int, lost: bool) -> TarHeader:
        """The header in a block; a walk that is `lost` takes only what bears the archive's own mark for one."""
        if start == 0:
            self._refuse_compressed(block)
        if lost and magic(block) != self._magic:
            raise HeaderError("no tar header")
        header = parse(block)
        self._magic = magic(block)
        self._headers += 1
        if self._headers > MAX_MEMBERS:
            raise DataError(f"{self._location} has more than {MAX_MEMBERS:,} members; split it into smaller shards")
        return header

    def _extension(self, header: TarHeader, start: int, before: Extension | None) -> Extension:
        """What a long name or a pax header says of the next member, added to what was said before."""
        data = self._data(header.size, MAX_EXTENSION).kept
        before = before or Extension(None, None, False)
        try:
            if header.size > MAX_EXTENSION:
                raise HeaderError(f"a header of {header.size} bytes")
            if header.kind == b"L":
                return before._replace(name=data.split(b"\0", 1)[0])
            pax = parse_pax(data)
        except HeaderError as error:
            self._note(start, f"{error}; the member behind it is left out")
            return Extension(b"", None, False)
        return Extension(
            before.name if pax.name is None else pax.name,
            before.size if pax.size is None else pax.size,
            before.sparse or pax.sparse,
        )

    def _member(self, header: TarHeader, start: int, extension: Extension | None) -> Member | None:
        """The regular file behind a header; None, and counted, for anything else."""
        name, size, sparse = header.name, header.size, header.kind == b"S"
        if extension:
            name = name if extension.name is None else extension.name
            size = size if extension.size is None else extension.size
            sparse |= extension.sparse
        if header.kind in _WITHOUT_DATA:
            self.skipped[_WITHOUT_DATA[header.kind]] += 1
            return None
        more = header.more
        while more and len(block := self.hashed.take(BLOCK)) == BLOCK:
            more = block[504] != 0
        offset = self.hashed.position
        reason = _left_out(header.kind, name, sparse)
        found = self._data(size, 0 if reason else self._keep(name))
        if found.size < size:
            raise HeaderError("a member that is cut short")
        if not reason:
            return Member(name, start, offset, size, found.crc32, found.kept)
        if header.kind not in _GENERAL:
            self.skipped[reason] += 1
        return None

    def _data(self, size: int, keep: int) -> ReadBytes:
        """Let a member's data and padding go by; HeaderError when the stream is known to be shorter."""
        if self.hashed.size is not None and size > (left := self.hashed.size - self.hashed.position):
            raise HeaderError(f"a member of {size} bytes where {left} are left")
        found = self.hashed.skip(size, keep)
        self.hashed.skip(-size % BLOCK)
        return found

    def _refuse_compressed(self, block: bytes) -> None:
        for start, kind in _COMPRESSED.items():
            if block.startswith(start):
                raise DataError(
                    f"{self._location} is compressed ({kind}), so no sample in it can be found directly; "
                    "uncompress it (images hardly shrink)"
                )

    def _note(self, offset: int, reason: str) -> None:
        self._damaged += 1
        if len(self._notes) < _NOTES:
            self._notes.append(f"byte {offset}: {reason}")


def _left_out(kind: bytes, name: bytes, sparse: bool) -> str:
    """Why a member with data is no file to look at; empty when it is one."""
    if sparse:
        return "sparse file"
    if kind not in _REGULAR:
        return "member of an unknown kind"
    if name.endswith(b"/"):
        return "folder"
    if not name:
        return "file without a name"
    return f"file with a name of more than {MAX_NAME} bytes" if len(name) > MAX_NAME else ""
