"""Places where a test can make the process die or a write fail: what a crash at any moment would do, on purpose."""

from __future__ import annotations

import errno
import os
from collections import Counter

VARIABLE = "NEXTPATCH_FAULT"
_ERRORS = {"enospc": errno.ENOSPC, "eio": errno.EIO}
_reached: Counter[str] = Counter()


def fault_point(name: str) -> None:
    """Nothing, unless NEXTPATCH_FAULT is "KIND:NAME[:NUMBER[:RANK]]" and this is the NUMBER-th time (from 1) at NAME.

    KIND is `die` (the process ends at once with code 137, as by SIGKILL), or `enospc` or `eio` (OSError, as from a full
    or broken disk). RANK is the only process that it happens in; all, when it is left out.
    """
    fault = os.environ.get(VARIABLE)
    if not fault:
        return
    kind, where, *rest = fault.split(":")
    number, rank = [*rest, "1", ""][0], rest[1] if len(rest) > 1 else os.environ.get("RANK", "0")
    _reached[name] += 1
    if where != name or _reached[name] != int(number) or rank != os.environ.get("RANK", "0"):
        return
    if kind == "die":
        os._exit(137)
    raise OSError(_ERRORS[kind], os.strerror(_ERRORS[kind]), name)
