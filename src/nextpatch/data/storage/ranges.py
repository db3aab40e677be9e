"""A file to be read anywhere in it: of a remote one only what is asked for travels, each part as patiently as all."""

from __future__ import annotations

import io
import os
from typing import Any

from nextpatch.data.storage.read import read_range, version_of
from nextpatch.data.storage.url import is_remote, local_path


def open_ranges(location: str) -> io.RawIOBase | io.BufferedReader:
    """The file; `size` of a remote one is its length. OSError when it is not there, or its server keeps that back."""
    return _Ranges(location) if is_remote(location) else local_path(location).open("rb")


class _Ranges(io.RawIOBase):
    """One range request for each read: made for readers that know what they want, such as Parquet's."""

    def __init__(self, location: str) -> None:
        version = version_of(location)
        if "size" not in version:
            raise OSError(f"the server of {location} does not say how long it is; copy it to this machine")
        self._location, self.size, self._at = location, int(version["size"]), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a byte, counted as for any file."""
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer, except at the end."""
        count = max(0, min(len(buffer), self.size - self._at))
        buffer[:count] = read_range(self._location, self._at, count)
        self._at += count
        return count

    def readall(self) -> bytes:
        """The rest, in one request."""
        return self.read(max(0, self.size - self._at)) or b""
