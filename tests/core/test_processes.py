"""Processes end at once, whatever they wait for; what cannot be sent comes back as an error."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import time

import pytest

from nextpatch.core.processes import PickleTransport, UnsentError, Worker, WorkerLostError, end_workers
from nextpatch.data.tar.pool import in_processes

FORK = multiprocessing.get_context("fork")


def work(question):
    """What the question says."""
    faulthandler.disable()  # pytest's would tell of the bus error
    if question == "wait":
        time.sleep(60)
    if question == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if question == "wrong":
        raise KeyError(question)
    return (lambda: 0) if question == "unsendable" else question


@pytest.fixture
def worker():
    made = Worker(FORK, work, PickleTransport())
    yield made
    end_workers([made])


def test_questions_are_answered_in_order_and_errors_are_values(worker):
    for question in (1, "wrong", "unsendable", 2):
        worker.ask(question)
    assert worker.answer() == 1
    with pytest.raises(KeyError, match="wrong"):
        worker.answer()
    with pytest.raises(UnsentError, match=r"AttributeError: Can't pickle .*lambda"):
        worker.answer()
    assert worker.answer() == 2


def test_signals_to_a_worker_are_not_heard(worker):
    os.kill(worker.process.pid, signal.SIGINT)  # before it has run a line
    os.kill(worker.process.pid, signal.SIGTERM)
    worker.ask("still here")
    assert worker.answer() == "still here"


def test_the_lost_are_told_from_the_slow(worker):
    worker.ask("wait")
    with pytest.raises(WorkerLostError, match=r"gave nothing for 0\.05 s"):
        worker.answer(0.05)
    os.kill(worker.process.pid, signal.SIGBUS)
    with pytest.raises(WorkerLostError, match="bus error"):
        worker.answer()


@pytest.mark.parametrize("reached", [True, False])
def test_ending_waits_for_nothing(worker, monkeypatch, reached):
    """Also where a kill does not reach: a process in the middle of a call to a dead file system."""
    kill = worker.process.kill
    worker.ask("wait")
    if not reached:
        monkeypatch.setattr("nextpatch.core.processes.KILLED_S", 0.1)
        monkeypatch.setattr(worker.process, "kill", lambda: None)
    start = time.monotonic()
    end_workers([worker])
    assert time.monotonic() - start < 1
    assert not multiprocessing.active_children()  # or Python would wait for them at its end
    kill()


def test_an_interrupt_ends_a_pool_whatever_is_queued(monkeypatch):
    """Each job would wait for a minute, and forty are queued."""
    monkeypatch.setattr("nextpatch.data.tar.pool.multiprocessing.get_context", lambda kind: FORK)
    done = in_processes(work, [1, *["wait"] * 40], 2)
    assert next(done) == (0, 1)
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        done.throw(KeyboardInterrupt)
    assert time.monotonic() - start < 2
    assert not multiprocessing.active_children()


def test_a_pool_gives_results_errors_and_deaths(monkeypatch):
    monkeypatch.setattr("nextpatch.data.tar.pool.multiprocessing.get_context", lambda kind: FORK)
    assert sorted(in_processes(work, [*range(9)], 3)) == [(n, n) for n in range(9)]
    with pytest.raises(KeyError, match="wrong"):  # a mistake of ours is not hidden
        list(in_processes(work, [1, "wrong"], 2))
    with pytest.raises(OSError, match=r"a process died \(is memory short\?\); what is done is kept"):
        list(in_processes(work, [1, "die"], 2))
    [(_, error)] = [found for found in in_processes(work, [1, "unsendable"], 2) if found[0]]
    assert isinstance(error, OSError)
    assert "cannot be sent" in str(error)
