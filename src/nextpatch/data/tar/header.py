"""One 512-byte tar header: its checksum, its numbers, its extensions. Nothing here touches a file."""

from __future__ import annotations

from typing import NamedTuple

from nextpatch.core.errors import UserError

BLOCK = 512
ZEROS = bytes(BLOCK)
MAX_NAME = 4096
MAX_EXTENSION = 2**20  # bytes of a long name or a pax header
_OCTAL = frozenset(b"01234567")
_MAGIC = slice(257, 262)


class HeaderError(UserError):
    """The block is not a header that can be relied on; the message says why."""


class TarHeader(NamedTuple):
    """What a header says of the member behind it."""

    kind: bytes  # one byte; see POSIX ustar's typeflag
    name: bytes
    size: int  # bytes of data that follow
    more: bool  # an old GNU sparse header goes on in the next block


class Extension(NamedTuple):
    """What a pax header says of the next member; None where it says nothing."""

    name: bytes | None
    size: int | None
    sparse: bool


def parse(block: bytes) -> TarHeader:
    """The header in a block of 512 bytes; HeaderError when its checksum or its size does not hold."""
    try:
        recorded = number(block[148:156])
    except HeaderError:
        recorded = -1
    if recorded != sum(block) - sum(block[148:156]) + 8 * ord(" "):
        raise HeaderError("no tar header with a valid checksum")
    name = _text(block[:100])
    if block[257:263] == b"ustar\0" and block[345]:  # GNU keeps other things where POSIX keeps the prefix
        name = _text(block[345:500]) + b"/" + name
    kind = block[156:157]
    return TarHeader(kind, name, number(block[124:136]), kind == b"S" and block[482] != 0)


def magic(block: bytes) -> bytes:
    """The mark of a format: `ustar`, or zeros in the oldest one."""
    return block[_MAGIC]


def number(field: bytes) -> int:
    """A field's number, octal or base-256; HeaderError for anything else, a negative one included."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    if field[0] & 0x80:
        raise HeaderError("a negative or malformed base-256 number")
    digits = field.split(b"\0", 1)[0].strip(b" ")
    if not _OCTAL.issuperset(digits):
        raise HeaderError("a number that is not octal")
    return int(digits or b"0", 8)


def parse_pax(data: bytes) -> Extension:
    """What a pax extended header holds, as records `LENGTH KEY=VALUE\\n`; HeaderError when they do not add up."""
    name, size, sparse, at = None, None, False, 0
    while at < len(data):
        space = data.find(b" ", at, at + 20)
        digits = data[at:space] if space > 0 else b""
        end = at + int(digits) if digits.isdigit() else 0
        key, sign, value = data[space + 1 : end - 1].partition(b"=")
        if not at < end <= len(data) or not sign or data[end - 1 : end] != b"\n":
            raise HeaderError("a malformed pax header")
        if key == b"path":
            name = _text(value)
        elif key == b"size":
            size = _decimal(value)
        sparse |= key.startswith(b"GNU.sparse.")
        at = end
    return Extension(name, size, sparse)


def _decimal(value: bytes) -> int:
    if not value.isdigit() or len(value) > 20:
        raise HeaderError("a size that is not a number in a pax header")
    return int(value)


def _text(field: bytes) -> bytes:
    return field.split(b"\0", 1)[0]
