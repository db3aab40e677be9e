"""Places: local paths and URLs, with patterns of them. A place is a text; only what is here knows its kinds."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import stat
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from nextpatch.core.text import shown
from nextpatch.core.threads import map_in_threads
from nextpatch.data.error import DataError
from nextpatch.data.storage.read import asked, refused, retried
from nextpatch.data.storage.sizes import sizes
from nextpatch.data.storage.url import filesystem as filesystem
from nextpatch.data.storage.url import is_remote as is_remote
from nextpatch.data.storage.url import local_path

MAX_PLACES = 10_000_000
WEB = ("http://", "https://")
_ASKED, _THREADS = 100, 32
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


class Entry(NamedTuple):
    """A file and its size in bytes; None when the server does not say."""

    location: str
    size: int | None


def expand(pattern: str) -> list[Entry]:
    """The files that a pattern names: `{0..9}`, `{a,b}`, then `*`, `?` and `[...]`; sorted where it is not a list.

    Each file is there once, however often the pattern names it. A local file or folder that exists as it is written is
    meant, whatever brackets are in its name.

    A file that braces name and that is not there is a DataError, and so is a pattern that nothing matches.
    """
    fixed = _as_written(pattern)
    if fixed == pattern:
        return [_entry(pattern)]
    names = [fixed + name for name in islice(braced(pattern[len(fixed) :]), MAX_PLACES + 1)]
    if len(names) > MAX_PLACES:
        raise DataError(f"{pattern} names more than {MAX_PLACES:,} files; use a narrower pattern")
    if re.search(r"[*?\[]", _unscreened(pattern[len(fixed) :])):
        return list({entry.location: entry for name in names for entry in _matching(name, fixed)}.values())
    names = list(dict.fromkeys(names))
    if is_remote(names[0]):
        return [Entry(name, size) for name, size in zip(names, sizes(names), strict=True)]
    return [_entry(name) for name in names]


def _as_written(pattern: str) -> str:
    """The longest beginning of a local pattern, up to a slash or the end, that is there as it is written."""
    if is_remote(pattern) or not re.search(r"[*?\[{]", pattern):
        return ""
    if os.path.isfile(local_path(pattern)):  # noqa: PTH113 - false, too, for a name that no file can have
        return pattern
    ends = [at + 1 for at, char in enumerate(pattern) if char == "/"]
    return next((pattern[:end] for end in reversed(ends) if os.path.isdir(local_path(pattern[:end]))), "")  # noqa: PTH112


def braced(pattern: str) -> Iterator[str]:
    """The texts that a pattern with braces stands for, in order: ranges keep leading zeros, lists may hold braces."""
    start = pattern.find("{")
    parts, end = _alternatives(pattern, start) if start >= 0 else ([], -1)
    if not parts:
        yield pattern
        return
    before, after = pattern[:start], pattern[end + 1 :]
    span = _RANGE.fullmatch(parts[0]) if len(parts) == 1 else None
    choices = _numbers(span[1], span[2], pattern) if span else (text for part in parts for text in braced(part))
    for choice in choices:
        for rest in braced(after):
            yield f"{before}{choice}{rest}"


def _alternatives(pattern: str, start: int) -> tuple[list[str], int]:
    """What stands between the commas of the brace that opens at `start`, and where it closes; nothing if nowhere."""
    depth, parts, begin = 0, [], start + 1
    for at, char in enumerate(pattern[start:], start):
        depth += (char == "{") - (char == "}")
        if depth == 0 or (depth == 1 and char == ","):
            parts.append(pattern[begin:at])
            begin = at + 1
        if depth == 0:
            return parts, at
    return [], -1


def _numbers(first: str, last: str, pattern: str) -> Iterator[str]:
    low, high = int(first), int(last)
    if abs(high - low) >= MAX_PLACES:
        raise DataError(f"{pattern} names more than {MAX_PLACES:,} files; use a narrower pattern")
    numbers = range(low, high + 1) if low <= high else range(low, high - 1, -1)
    return (str(number).zfill(len(first)) for number in numbers)


def _unscreened(name: str) -> str:
    """Without a URL's query, whose `?` is no pattern."""
    return name.partition("?")[0] if name.startswith(("http://", "https://")) else name


def _entry(location: str) -> Entry:
    """The file at a local place; DataError when there is none."""
    path = local_path(location)
    try:
        status = path.stat()
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            raise DataError(f"{shown(path)} is a pipe or a device, not a file; write its contents to a file first")
        return Entry(str(path), status.st_size)
    except OSError as error:
        reason = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise DataError(f"{path} {reason}; check the name, or leave it out of the pattern") from None


def _matching(pattern: str, fixed: str = "") -> list[Entry]:
    """The files that a pattern of one file system matches, sorted; what it begins with, `fixed`, is no pattern."""
    if not is_remote(pattern):
        wanted = f"{glob.escape(str(local_path(fixed)))}/{pattern[len(fixed) :]}" if fixed else str(local_path(pattern))
        paths = sorted(map(Path, set(glob.glob(wanted, recursive=True))))  # noqa: PTH207
        found = [Entry(str(path), path.stat().st_size) for path in paths if path.is_file()]
    else:
        fs, path = filesystem(pattern)
        infos = retried(pattern, lambda: _shown_by(fs, "glob", path))
        found = [
            _listed(fs, {"name": name} | info)
            for name, info in sorted(infos.items())
            if info.get("type", "file") == "file"
        ]
    if not found:
        raise DataError(f"nothing matches {pattern}; check it, and quote it so that the shell leaves it alone")
    return found


def listing(folder: str) -> list[Entry]:
    """All files below a folder or prefix, recursively, sorted by place; DataError when there are none."""
    if not is_remote(folder):
        return _matching(f"{glob.escape(str(local_path(folder)))}/**")
    fs, path = filesystem(folder)
    infos = retried(folder, lambda: _shown_by(fs, "find", path))
    found = [
        _listed(fs, {"name": name} | info) for name, info in sorted(infos.items()) if info.get("type", "file") == "file"
    ]
    if not found:
        raise DataError(f"{folder} does not exist or holds no files; check the name and who may list it")
    return found


def exists(location: str) -> bool:
    """Whether there is a file at a place."""
    if not is_remote(location):
        return local_path(location).exists()
    try:
        return not is_gone(location)
    except OSError as error:
        if location.startswith(WEB) and refused(error):  # what many servers say of a file that is not there
            return False
        raise


def gone(locations: Sequence[str]) -> list[str]:
    """Those of some files in one remote folder that are certainly not there.

    What cannot be listed, or is answered by a refusal, is not missing. Web servers have no listings: of many files the
    first hundred are asked for.
    """
    if locations[0].startswith(WEB):
        few = locations[:_ASKED]
        return [
            location for location, lost in zip(few, map_in_threads(_certainly_gone, few, _THREADS), strict=True) if lost
        ]
    try:
        there = {entry.location for entry in listing(locations[0].rpartition("/")[0])}
    except (OSError, DataError):
        return []
    return [location for location in locations if location not in there]


def is_gone(location: str) -> bool:
    """Whether a server says that there is nothing at a place; OSError when it says neither that nor another."""
    fs, path = filesystem(location)
    try:
        retried(location, lambda: asked(fs, "info", path))
    except FileNotFoundError:
        return True
    return False


def _certainly_gone(location: str) -> bool:
    with contextlib.suppress(OSError):
        return is_gone(location)
    return False


def _shown_by(fs: Any, question: str, path: str) -> dict[str, Any]:
    """What a listing shows. Of a bucket it may take long; a web server's page may not."""
    if "http" in fs.protocol:
        return dict(asked(fs, question, path, detail=True))
    return dict(getattr(fs, question)(path, detail=True))


def _listed(fs: Any, info: dict[str, Any]) -> Entry:
    size = info.get("size")
    return Entry(fs.unstrip_protocol(info["name"]), None if size is None else int(size))
