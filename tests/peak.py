"""How much memory something took at its most, beyond what the process had before."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def _peak_bytes() -> int:
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@contextmanager
def grows_at_most(most_bytes: int) -> Iterator[None]:
    """AssertionError where the block takes more. Where the system can, an earlier peak hides nothing."""
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5")  # the highest so far is what it is now
    before = _peak_bytes()
    yield
    grown = _peak_bytes() - before
    assert grown <= most_bytes, f"{grown / 2**20:,.0f} MiB, of at most {most_bytes / 2**20:,.0f}"
