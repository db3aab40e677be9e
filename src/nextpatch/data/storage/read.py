"""Bytes of a place, in spite of what networks do: retried with patience, and never fewer than asked for."""

from __future__ import annotations

import io
import logging
import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

from nextpatch.data.error import DataError
from nextpatch.data.storage.url import filesystem, is_remote, local_path, patience_s

log = logging.getLogger(__name__)
T = TypeVar("T")
ATTEMPTS = 8
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
CHUNK = 16 * 2**20
_VERSION_KEYS = ("ETag", "etag", "LastModified", "last_modified", "updated", "generation", "mtime", "size")


class NoRangesError(OSError):
    """The server sent more than it was asked for: it does not know ranges."""


def retried(location: str, action: Callable[[], T]) -> T:
    """What `action` returns, tried again after what may pass, with growing pauses.

    FileNotFoundError at once for what is not there; OSError, naming the place, how often it was tried and the last
    reason, when it is refused, or when ATTEMPTS or the patience are used up.
    """
    start, pause_s = time.monotonic(), FIRST_PAUSE_S
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return action()
        except DataError:
            raise
        except Exception as found:  # every library below has errors of its own
            error = _unwrapped(found)
            if isinstance(error, FileNotFoundError):
                raise
            waited_s = time.monotonic() - start
            if _is_final(error) or attempt == ATTEMPTS or waited_s > patience_s():
                times = "once" if attempt == 1 else f"{attempt} times in {waited_s:.0f} s"
                raise OSError(f"{location} cannot be read: {_said(error)} (tried {times})") from error
            log.log(logging.INFO if attempt == 1 else logging.WARNING, "%s: %s; trying again", location, _said(error))
            time.sleep(pause_s * random.uniform(0.5, 1))
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
    raise AssertionError("unreachable")


def _is_final(error: Exception) -> bool:
    """Whether trying again cannot help: not allowed, nobody known, or a request that the server does not understand."""
    status = _status(error)
    final = status is not None and 400 <= status < 500 and status not in (408, 425, 429)
    nobody = "Credentials" in type(error).__name__  # each cloud's library has an error of its own for that
    return final or nobody or isinstance(error, (NoRangesError, PermissionError, NotImplementedError, ImportError))


def _status(error: BaseException | None) -> int | None:
    """What the server answered, where a library keeps it: aiohttp's status, Google's code, the Hub's response."""
    response = getattr(error, "response", None)
    for holder, name in ((error, "status"), (error, "code"), (response, "status_code")):
        if isinstance(status := getattr(holder, name, None), int):
            return status
    return None


def asked(fs: Any, question: str, *words: Any, **more: Any) -> Any:
    """What a file system answers; an attempt ends with TimeoutError when it takes longer than the patience.

    A server that gives a byte now and then never stalls: so a limit on silence is not enough.
    """
    if getattr(fs, "async_impl", False):  # fsspec's own limit, for what runs in its loop
        try:
            return getattr(fs, question)(*words, timeout=patience_s(), **more)
        except TimeoutError as error:
            raise TimeoutError(str(error) or f"no whole answer within {patience_s():g} s") from error
    return getattr(fs, question)(*words, **more)


def _unwrapped(error: Exception) -> Exception:
    """Why a file is not found: the web's file system says so of every answer but the file, of 403, 500, no server."""
    cause = error.__cause__
    if isinstance(error, FileNotFoundError) and isinstance(cause, Exception) and _status(cause) not in (404, 410):
        return cause
    return error


def refused(error: OSError) -> bool:
    """Whether the server does not give what was asked for, to us."""
    return _status(error.__cause__) in (401, 403, 405)


def _said(error: Exception) -> str:
    text = str(error).splitlines()[0] if str(error) else ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def read_range(location: str, start: int, length: int) -> bytes:
    """Exactly `length` bytes from byte `start` on; OSError when they cannot be had."""
    if not is_remote(location):
        with local_path(location).open("rb") as file:
            file.seek(start)
            data = file.read(length)
        if len(data) != length:
            raise OSError(f"{location} ends before byte {start + length:,}")
        return data
    if length == 0:
        return b""
    fs, path = filesystem(location)
    return retried(location, lambda: _exactly(length, asked(fs, "cat_file", path, start=start, end=start + length)))


def _exactly(length: int, data: bytes) -> bytes:
    if len(data) > length:
        raise NoRangesError(
            "its server gives whole files only, no ranges of bytes; serve it by another, or copy it to this machine"
        )
    if len(data) != length:
        raise OSError(f"{len(data):,} bytes came where {length:,} were asked for")
    return data


def read_all(location: str, limit: int = 2**30) -> bytes:
    """A whole file of at most `limit` bytes."""
    if not is_remote(location):
        size = local_path(location).stat().st_size
    else:
        fs, path = filesystem(location)
        size = retried(location, lambda: asked(fs, "info", path)).get("size")
        if size is None:
            data: bytes = retried(location, lambda: asked(fs, "cat_file", path, start=0, end=limit + 1))
            size = len(data)
            if size <= limit:
                return data
    if size > limit:
        raise OSError(f"{location} has {size:,} bytes, more than the {limit:,} that it may have")
    return read_range(location, 0, size)


def version_of(location: str) -> dict[str, Any]:
    """What tells one state of a remote file from another, as far as its server says: size, ETag, time."""
    fs, path = filesystem(location)
    info = retried(location, lambda: asked(fs, "info", path))
    return {key: str(info[key]) for key in _VERSION_KEYS if info.get(key) is not None}


def open_stream(location: str) -> io.BufferedReader:
    """The file from its first byte on, to be read in order."""
    if not is_remote(location):
        return local_path(location).open("rb")
    return io.BufferedReader(_Remote(location))


class _Remote(io.RawIOBase):
    """A remote file in order: a range request for each chunk, so that a lost connection costs one chunk.

    OSError when the file is not the same at the end as it was at the beginning.
    """

    def __init__(self, location: str) -> None:
        self._location = location
        self._version = version_of(location)
        self._size = int(self._version["size"]) if "size" in self._version else None
        self._next = 0
        self._chunk = memoryview(b"")  # what came and was not yet read

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer, except at the end of a chunk."""
        if not self._chunk:
            self._chunk = memoryview(self._come())
        count = min(len(buffer), len(self._chunk))
        buffer[:count], self._chunk = self._chunk[:count], self._chunk[count:]
        return count

    def _come(self) -> bytes:
        """The next chunk; empty at the end."""
        if self._size is None:  # a server that does not say how long the file is gives it as a whole
            data = read_all(self._location)
            self._size = len(data)
        else:
            data = read_range(self._location, self._next, min(CHUNK, self._size - self._next))
        self._next += len(data)
        if not data and version_of(self._location) != self._version:
            raise OSError(f"{self._location} changed while it was read; read it again")
        return data
