"""Shards brought near ahead of their use, by a process of its own that dies with its parent and may fail harmlessly."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import IO, Protocol, runtime_checkable

log = logging.getLogger(__name__)
THREADS = 4
_POLL_S = 1.0
_CHILD = "from nextpatch.data.storage.prefetch import serve; serve()"


@runtime_checkable
class Prefetchable(Protocol):
    """What can bring a shard near."""

    def prefetch(self, shard: int) -> None: ...


class Prefetcher:
    """Brings near the shards that `plan(position)` names, soonest first, while the run's position advances.

    Source and plan are sent to the process once. Without it, or where it fails, readers fetch what they need
    themselves; so nothing here raises.
    """

    def __init__(self, source: Prefetchable, plan: Callable[[int], list[int]]) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-c", _CHILD], stdin=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        self._listener = threading.Thread(target=_log_lines, args=(self._child.stderr,), daemon=True)
        self._listener.start()
        with contextlib.suppress(OSError):
            self._input.write(pickle.dumps((source, plan)))
            self._input.flush()
        os.set_blocking(self._input.fileno(), False)

    def advance(self, position: int) -> None:
        """Tell how far the run is. Returns at once, even if nobody listens: the next position says it again."""
        with contextlib.suppress(OSError, ValueError):  # it is busy, dead, or closed
            os.write(self._input.fileno(), b"%d\n" % position)

    def close(self) -> None:
        """End the process, whatever it is fetching."""
        self._child.kill()
        self._child.wait()
        self._listener.join(timeout=1)
        for pipe in (self._child.stdin, self._child.stderr):
            with contextlib.suppress(OSError):
                if pipe:
                    pipe.close()

    def __enter__(self) -> Prefetcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _input(self) -> IO[bytes]:
        assert self._child.stdin
        return self._child.stdin


def serve() -> None:
    """What the process does: read source and plan, then positions, until its parent is gone."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    source, plan = pickle.load(sys.stdin.buffer)  # written by our own parent, never a file
    state = _State(source, plan)
    for line in sys.stdin.buffer:
        state.at(int(line))
    os._exit(0)  # without waiting for what is on its way


def _end_with(parent: int) -> None:
    """End when the parent has ended, although workers that it started may hold the other end of our pipe."""
    while os.getppid() == parent:
        time.sleep(_POLL_S)
    os._exit(0)


class _State:
    """Which shards were asked for, and which are on their way."""

    def __init__(self, source: Prefetchable, plan: Callable[[int], list[int]]) -> None:
        self._source, self._plan = source, plan
        self._pool = ThreadPoolExecutor(THREADS)
        self._planned: list[int] = []
        self._fetches: dict[int, Future[None]] = {}

    def at(self, position: int) -> None:
        """Ask for what the position needs; what is no longer needed and has not begun is left."""
        planned = self._plan(position)
        if planned == self._planned:
            return
        self._planned = planned
        for shard in self._fetches.keys() - set(planned):
            self._fetches.pop(shard).cancel()
        for shard in planned:
            if shard not in self._fetches:
                self._fetches[shard] = self._pool.submit(self._fetch, shard)

    def _fetch(self, shard: int) -> None:
        try:
            self._source.prefetch(shard)
        except Exception as error:  # the reader will meet it again, and say so
            print(f"shard {shard} was not fetched ahead: {error}", file=sys.stderr, flush=True)


def _log_lines(stream: IO[bytes] | None) -> None:
    for line in stream or ():
        log.warning("%s", line.decode("utf-8", "replace").rstrip())
