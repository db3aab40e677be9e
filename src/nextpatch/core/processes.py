"""Processes that answer questions one after another; they never hear Ctrl-C, and end at once when they are told to."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing import process as children
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Protocol, cast, runtime_checkable

KILLED_S = 1.0  # how long a killed process may take to be gone; one that waits for a dead file system takes longer
_LOOK_S = 1.0  # between two looks whether the parent is still there
_UNHEARD = {signal.SIGINT, signal.SIGTERM}


class WorkerLostError(Exception):
    """A worker process has died, or does not answer; the message says how."""


class UnsentError(Exception):
    """An answer could not be sent from the worker process; the message says why."""


@runtime_checkable
class Transport(Protocol):
    """How answers are sent through a pipe."""

    def send(self, pipe: Connection, answer: Any) -> None: ...

    def receive(self, pipe: Connection) -> Any: ...


class PickleTransport:
    """Whatever can be pickled, by value."""

    def send(self, pipe: Connection, answer: Any) -> None:
        """One message."""
        pipe.send(answer)

    def receive(self, pipe: Connection) -> Any:
        """What was sent."""
        return pipe.recv()


class Worker:
    """A process that answers each question by `function(question)`, in the order in which they are asked.

    It has a pipe of its own, so that nobody waits for a lock that a killed one held.
    """

    def __init__(self, context: BaseContext, function: Callable[[Any], Any], transport: Transport) -> None:
        self.pipe, theirs = context.Pipe()
        self._transport = transport
        self.process: BaseProcess = cast(Any, context).Process(
            target=_serve, args=(theirs, function, transport, os.getpid()), daemon=True
        )
        try:
            with without_signals():
                self.process.start()
        except BaseException:
            self.pipe.close()
            raise
        finally:
            theirs.close()

    def ask(self, question: Any) -> None:
        """Put a question; WorkerLostError when the process has died."""
        try:
            self.pipe.send(question)
        except OSError:
            raise self._lost() from None

    def answer(self, patience_s: float | None = None) -> Any:
        """The answer to the question that is due, or what `function` raised.

        WorkerLostError when the process has died, or has said nothing for `patience_s`; UnsentError when there is an
        answer that could not be sent.
        """
        if not wait_for([self.pipe, self.process.sentinel], patience_s):
            raise WorkerLostError(f"gave nothing for {patience_s:g} s")
        try:
            if not self.pipe.poll(0):
                raise self._lost()
            kind, value = self._transport.receive(self.pipe)
        except (EOFError, ConnectionError):
            raise self._lost() from None
        except (OSError, RuntimeError) as error:
            raise UnsentError(str(error)) from error
        if kind == "raised":
            raise value
        if kind == "unsent":
            raise UnsentError(value)
        return value

    def _lost(self) -> WorkerLostError:
        self.process.join(KILLED_S)
        code = self.process.exitcode
        if code == -getattr(signal, "SIGBUS", 0):
            return WorkerLostError(
                "died of a bus error: a file that it had mapped could not grow (is the disk or /dev/shm full?)"
            )
        return WorkerLostError("died")


class WorkerPool:
    """`count` workers that are started together; all are ended when the block is left, in whatever way.

    OSError when the system does not allow so many; those that were started are ended.
    """

    def __init__(
        self, context: BaseContext, count: int, function: Callable[[Any], Any], transport: Transport | None = None
    ) -> None:
        self._context, self._count, self._function = context, count, function
        self._transport = transport or PickleTransport()
        self._workers: list[Worker] = []

    def __enter__(self) -> list[Worker]:
        try:
            with without_signals():  # a Ctrl-C between the start of a worker and its place in the list would leave it
                for _ in range(self._count):
                    self._workers.append(Worker(self._context, self._function, self._transport))
        except BaseException:
            end_workers(self._workers)
            raise
        return self._workers

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end_workers(self._workers)


def wait_for_any(workers: Sequence[Worker]) -> list[Worker]:
    """Those of the workers whose answer, or whose end, can be had now; waits for the first."""
    ready = set(wait_for([thing for worker in workers for thing in (worker.pipe, worker.process.sentinel)]))
    return [worker for worker in workers if worker.pipe in ready or worker.process.sentinel in ready]


def end_workers(workers: Iterable[Worker]) -> None:
    """End the processes, whatever they wait for, and do not wait for one that even a kill does not reach.

    A process that asks a file system which does not answer ends when that does. It is forgotten here, or Python would
    wait for it when the program ends.
    """
    workers = list(workers)
    for worker in workers:
        worker.process.kill()
        worker.pipe.close()
    until = time.monotonic() + KILLED_S
    for worker in workers:
        worker.process.join(max(0.0, until - time.monotonic()))
        if worker.process.exitcode is None:
            cast(Any, children)._children.discard(worker.process)


@contextlib.contextmanager
def without_signals() -> Iterator[None]:
    """Processes begun meanwhile never hear Ctrl-C or a request to end: their parent does, and ends them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _UNHEARD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe: Connection, function: Callable[[Any], Any], transport: Transport, parent: int) -> None:
    for number in _UNHEARD:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    while True:
        try:
            question = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer = ("answer", function(question))
        except Exception as error:
            answer = ("raised", error.with_traceback(None))
        try:
            transport.send(pipe, answer)
        except Exception as error:  # as a value it comes back; kept here it would leave the parent waiting
            transport.send(pipe, ("unsent", f"{type(error).__name__}: {error}"))


def _end_with(parent: int) -> None:
    """End when the parent is gone, even by a kill."""
    found = multiprocessing.parent_process()
    while os.getppid() == parent or (found is not None and found.is_alive()):
        wait_for([found.sentinel] if found else [], _LOOK_S)
    os._exit(1)
