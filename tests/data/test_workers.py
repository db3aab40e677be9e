from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time

import numpy as np
import pytest
import torch

from nextpatch.data import workers as module
from nextpatch.data import workers as workers_module
from nextpatch.data.error import DataError
from nextpatch.data.workers import in_order


class Squares:
    """Item n is n squared, the process that made it, and the threads it had."""

    def __init__(self, count=7, pause_s=0.0):
        self.count, self.pause_s = count, pause_s

    def __len__(self):
        return self.count

    def __getitem__(self, number):
        time.sleep(self.pause_s)
        return number * number, os.getpid(), torch.get_num_threads()


class Deadly(Squares):
    """An item that no process survives."""

    def __getitem__(self, number):
        if number == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(number)


class Faulty(Squares):
    def __getitem__(self, number):
        if number == 2:
            raise DataError("too many are bad")
        if number == 5:
            raise RuntimeError("worker timed out of patience")
        return super().__getitem__(number)


@pytest.fixture
def quick(monkeypatch):
    """Dead workers are looked for more often."""
    monkeypatch.setattr(module, "_POLL_S", 0.5)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_items_come_in_order_from_that_many_processes(workers):
    items = list(in_order(Squares(), workers))
    assert [item[0] for item in items] == [0, 1, 4, 9, 16, 25, 36]
    processes = {item[1] for item in items}
    assert len(processes) == max(1, workers)
    assert (os.getpid() in processes) == (workers == 0)
    assert workers == 0 or all(item[2] == 1 for item in items)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_an_item_raises_is_raised_as_it_is(workers):
    items = in_order(Faulty(), workers)
    assert [next(items)[0] for _ in range(2)] == [0, 1]
    with pytest.raises(DataError, match=r"^too many are bad$"):
        next(items)


def test_an_error_of_an_item_is_never_taken_for_the_loaders(quick):
    class Late(Faulty):
        def __getitem__(self, number):
            return super().__getitem__(number + 3)

        def __len__(self):
            return 4

    items = in_order(Late(), 1)
    assert [next(items)[0] for _ in range(2)] == [9, 16]
    with pytest.raises(RuntimeError, match="out of patience"):
        next(items)


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("seed", range(2))
def test_dead_and_stuck_workers_are_replaced_and_no_item_is_lost(quick, kind, seed, caplog):
    """Workers struck at random, many times over: the items are those of an undisturbed pass."""
    chance, strikes = np.random.default_rng(seed), 0
    items, got = in_order(Squares(120, 0.002), 2, stall_s=1), []
    with caplog.at_level(logging.WARNING, "nextpatch"):
        for item in items:
            got.append(item[0])
            if strikes < 3 and chance.random() < 0.05:
                os.kill(chance.choice([p.pid for p in multiprocessing.active_children()]), kind)
                strikes += 1
    assert got == [n * n for n in range(120)]
    assert strikes == 3
    reason = "died" if kind == signal.SIGKILL else "gave nothing for 1 s"
    assert all(f"a data worker {reason}" in r.getMessage() for r in caplog.records)
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_fifty_strikes(capsys):
    """SIGKILL and SIGSTOP in turn, with the real time between two looks: no hang, the same items."""
    chance = np.random.default_rng(0)
    waits = [longest_wait(int(chance.integers(1, 60)), (signal.SIGKILL, signal.SIGSTOP)[i % 2]) for i in range(50)]
    with capsys.disabled():
        print(f"[50 strikes, 0 hangs, longest wait {max(waits):.1f} s] ", end="")


def longest_wait(strike_at, kind):
    """Seconds between two items, at most, when a worker is struck at an item; all items must come."""
    got, times = [], []
    for item in in_order(Squares(80, 0.001), 2, stall_s=1):
        got.append(item[0])
        times.append(time.monotonic())
        if len(got) == strike_at:
            os.kill(multiprocessing.active_children()[strike_at % 2].pid, kind)
    assert got == [n * n for n in range(80)]
    return max(np.diff(times))


def test_an_item_that_kills_every_worker_ends_with_advice(quick):
    items = in_order(Deadly(), 1)
    with pytest.raises(DataError, match=r"a data worker died at batch [0-3] .* 3 times over; .*data\.workers"):
        list(items)


def test_a_death_does_not_interrupt_the_main_thread(quick):
    """torch's own handler would raise here, in the middle of whatever the step is doing."""
    items = in_order(Squares(1000), 1)
    next(items)
    for process in multiprocessing.active_children():
        os.kill(process.pid, signal.SIGKILL)
    for _ in range(10):
        time.sleep(0.05)
    assert next(items)[0] == 1
    items.close()


def test_workers_can_be_used_from_another_thread():
    got = []
    thread = threading.Thread(target=lambda: got.extend(item[0] for item in in_order(Squares(), 1)))
    thread.start()
    thread.join()
    assert got == [n * n for n in range(7)]


def test_leaving_early_leaves_no_process():
    items = in_order(Squares(1000), 2)
    next(items)
    items.close()
    assert not multiprocessing.active_children()


def test_a_worker_killed_with_a_lock_in_its_hands_hangs_nobody():
    crew = workers_module._Crew(range(100), 0, 2)
    assert next(crew.outcomes(60)) == 0
    crew._loader._workers_done_event._cond.acquire()  # as a worker does when it looks whether to end
    ending = threading.Thread(target=crew.dismiss, daemon=True)
    ending.start()
    ending.join(30)
    assert not ending.is_alive()
