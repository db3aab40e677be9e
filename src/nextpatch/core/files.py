"""Files that appear whole or not at all: written aside, synced, and only then given their name."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

UNFINISHED = ".unfinished"
DIGEST = "sha256"  # the key under which a JSON file holds the digest of its other values

_FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))


@contextlib.contextmanager
def replacing(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """A path beside `path` to write a file to. On leaving it is synced and takes the name `path`, in one step.

    On an error nothing stays of it, and an older file at `path` is untouched. The folder is made where it is missing.
    A full disk's OSError names `path`: of itself a failing write names nothing. With `shared` other processes may write
    the same file meanwhile: each writes one of its own, and the last one stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}{f'.{os.getpid()}' if shared else ''}{UNFINISHED}")
    try:
        with naming_path(path):
            yield aside
            sync(aside)
            aside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        raise
    sync(path.parent)


@contextlib.contextmanager
def naming_path(path: Path) -> Iterator[None]:
    """While inside, a full disk's OSError names `path`: of itself a failing write names nothing."""
    try:
        yield
    except OSError as error:
        if error.errno and error.errno in _FULL and error.filename is None:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise


def write_bytes(path: Path, data: bytes, *, shared: bool = False) -> None:
    """Replace a file in one step: after a crash at any moment the old one is there, or the new one."""
    with replacing(path, shared=shared) as aside:
        aside.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Replace a UTF-8 text file in one step; bytes of names that are not UTF-8 become escapes."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Replace a JSON file in one step, with a digest of its values in it, which `read_json` checks.

    A number that JSON has no word for (NaN, infinity) is a ValueError.
    """
    plain = {key: value for key, value in values.items() if key != DIGEST}
    write_text(path, json.dumps({**plain, DIGEST: digest_of_json(plain)}, indent=1, allow_nan=False) + "\n")


def digest_of_json(values: Mapping[str, Any]) -> str:
    """SHA-256, in hexadecimal, of plain values, whatever the order of their keys."""
    again = json.loads(json.dumps(values, allow_nan=False))  # as a reader will see them: tuples become lists
    return hashlib.sha256(json.dumps(again, sort_keys=True, allow_nan=False).encode()).hexdigest()


def sync(path: Path) -> None:
    """Wait until a file's or folder's content is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
