"""A stream of bytes read once from front to back, with the SHA-256 of all that went by."""

from __future__ import annotations

import hashlib
import zlib
from typing import NamedTuple, Protocol, runtime_checkable

_CHUNK = 2**20


@runtime_checkable
class ByteStream(Protocol):
    """Whatever gives its bytes from front to back."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none only at the end."""
        ...


class ReadBytes(NamedTuple):
    """What went by: how many bytes, their CRC-32, and the first of them, as many as were asked for."""

    size: int
    crc32: int
    kept: bytes


class HashingReader:
    """Reads in large pieces whatever size is asked for. `size`: the stream's length, None when it is not known."""

    def __init__(self, stream: ByteStream, size: int | None) -> None:
        self.size = size
        self.position = 0
        self._stream = stream
        self._sha256 = hashlib.sha256()
        self._piece, self._at = memoryview(b""), 0

    def take(self, count: int) -> bytes:
        """The next `count` bytes; fewer only at the end."""
        if len(self._piece) - self._at >= count:
            return bytes(self._some(count))
        found = bytearray()
        while len(found) < count and (part := self._some(count - len(found))):
            found += part
        return bytes(found)

    def skip(self, count: int, keep: int = 0) -> ReadBytes:
        """Let `count` bytes go by, or as many as there are; the first `keep` come back."""
        kept, crc32, left = bytearray(), 0, count
        while left and (part := self._some(left)):
            crc32 = zlib.crc32(part, crc32)
            kept += part[: max(0, keep - len(kept))]
            left -= len(part)
        return ReadBytes(count - left, crc32, bytes(kept))

    def finish(self) -> str:
        """Read on to the end; the SHA-256 of the whole stream, in hexadecimal."""
        while part := self._some(_CHUNK):
            del part
        return self._sha256.hexdigest()

    def _some(self, count: int) -> memoryview:
        """At least one byte and at most `count`; none at the end."""
        if self._at == len(self._piece):
            self._piece, self._at = memoryview(self._stream.read(_CHUNK)), 0
            self._sha256.update(self._piece)
        part = self._piece[self._at : self._at + count]
        self._at += len(part)
        self.position += len(part)
        return part
