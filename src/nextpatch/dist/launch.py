"""What a launcher such as torchrun says in the environment, and how a rank ends when its launcher has ended."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import threading
import time

LAUNCHED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")  # what torchrun sets
_POLL_S = 0.5
_PR_SET_PDEATHSIG = 1  # of Linux's prctl
_STORE_S = {True: 3.0, False: 20.0}  # how long a meeting point may refuse a rank: on this machine, on another one
_watched: set[int] = set()  # processes that watch their launcher; a fork has another number


def launched() -> bool:
    """Whether a launcher started this process as one rank of a run."""
    return all(name in os.environ for name in LAUNCHED)


def world_size() -> int:
    """How many ranks the launcher started; 1 without a launcher."""
    return int(os.environ["WORLD_SIZE"]) if launched() else 1


def end_with_launcher() -> None:
    """From now on this rank ends, at once and unsaved, when the process that started it has ended; else nothing.

    A launcher that is killed cannot end its ranks, which would train on beside the run that is started next. Linux
    itself sends SIGKILL then; but it does so when the THREAD that started us ends, so this is asked for under torchrun
    alone, which starts ranks from its main thread. A thread that looks for the parent works everywhere else.
    """
    if not launched() or os.getpid() in _watched:
        return
    _watched.add(os.getpid())
    parent = os.getppid()
    if "TORCHELASTIC_RUN_ID" in os.environ and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL_S)
    print("nextpatch: the launcher has ended, so this rank ends too", file=sys.stderr, flush=True)
    os._exit(1)


def wait_for_rendezvous() -> None:
    """Return when the meeting point that torchrun keeps for its ranks answers; OSError when it does not.

    A rank whose launcher was killed before the rank could watch it would else try to get in for half an hour.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return  # rank 0 keeps it, and may come later than the others
    place = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
    patience_s = _STORE_S[os.environ["WORLD_SIZE"] == os.environ["LOCAL_WORLD_SIZE"]]
    until = time.monotonic() + patience_s
    while True:
        try:
            socket.create_connection(place, timeout=max(1.0, patience_s)).close()
            return
        except OSError as error:
            if time.monotonic() > until:
                raise OSError(
                    f"the launcher does not answer at {place[0]}:{place[1]} ({error.strerror or error}); it has ended, "
                    "or the network between the machines is closed; start the run again"
                ) from None
            time.sleep(_POLL_S)
