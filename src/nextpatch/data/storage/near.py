"""An image's file on this machine, read whole: never a pipe or a device, and never more than an image can have."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

MOST = 2**31  # bytes: MAX_PIXELS of any usual type and number of channels take less
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def read_near(path: Path) -> bytes:
    """The file's bytes; OSError when it is not there, is no file, or is larger than any image, before it is read.

    A pipe would never answer, and a device as /dev/zero never end.
    """
    number = os.open(path, _FLAGS)
    try:
        status = os.fstat(number)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "is a pipe or a device, not a file", str(path))
        if status.st_size > MOST:
            raise OSError(errno.EFBIG, f"has {status.st_size:,} bytes, more than any image", str(path))
        with os.fdopen(number, "rb", closefd=False) as file:
            return file.read(MOST)
    finally:
        os.close(number)
