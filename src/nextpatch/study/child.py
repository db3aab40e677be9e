"""One command line in a process of its own that stops, as by SIGTERM, when the process that started it is gone.

    python -m nextpatch.study.child pretrain ...

Its standard input is a pipe that its parent holds: the kernel closes it however the parent ends.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading


def _stop_with_parent() -> None:
    """A training then finishes its step and saves; anything else ends at once."""
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """The command line behind the module's name."""
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    runpy.run_module("nextpatch", run_name="__main__")


if __name__ == "__main__":
    sys.argv[0] = "nextpatch"
    main()
