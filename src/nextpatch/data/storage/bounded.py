"""A file that takes what a server sends only up to a size, and only while it comes fast enough."""

from __future__ import annotations

import time
from typing import BinaryIO

from nextpatch.data.error import DataError
from nextpatch.data.storage.url import patience_s

LEAST = 2**20  # bytes that must come within the patience


class TooLongError(DataError):
    """More bytes came than may."""


class TooSlowError(OSError):
    """Bytes only trickle. (fsspec would take the words from a TimeoutError.)"""


class BoundedFile:
    """What fsspec writes a download to. TooLongError above `most` bytes; TooSlowError when bytes only trickle."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._file, self._most = file, most
        self._since, self._then = time.monotonic(), 0

    def write(self, data: bytes) -> int:
        """Add bytes."""
        at = self.tell() + len(data)
        if at > self._most:
            raise TooLongError(f"more than {self._most:,} bytes come")
        if at - self._then >= LEAST:
            self._since, self._then = time.monotonic(), at
        elif time.monotonic() - self._since > patience_s():
            raise TooSlowError(f"only {at - self._then:,} bytes came in {patience_s():.0f} s")
        return self._file.write(data)

    def tell(self) -> int:
        """Bytes so far."""
        return self._file.tell()

    def read(self, count: int = -1) -> bytes:
        """Nothing: it is there because fsspec knows files by it."""
        return b""

    def close(self) -> None:
        """Left to whoever opened the file."""
