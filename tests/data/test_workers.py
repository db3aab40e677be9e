from __future__ import annotations

import logging
import multiprocessing
import os
import resource
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

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


def test_an_error_of_an_item_is_never_taken_for_the_loaders():
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
def test_dead_and_stuck_workers_are_replaced_and_no_item_is_lost(kind, seed, caplog):
    """Workers struck at random, many times over: the items are those of an undisturbed pass."""
    chance, strikes = np.random.default_rng(seed), 0
    items, got = in_order(Squares(120, 0.002), 2, stall_s=0.3), []
    with caplog.at_level(logging.WARNING, "nextpatch"):
        for item in items:
            got.append(item[0])
            if strikes < 3 and chance.random() < 0.05:
                os.kill(chance.choice([p.pid for p in multiprocessing.active_children()]), kind)
                strikes += 1
    assert got == [n * n for n in range(120)]
    assert strikes == 3
    reason = "died" if kind == signal.SIGKILL else "gave nothing for 0.3 s"
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


def test_an_item_that_kills_every_worker_ends_with_advice():
    items = in_order(Deadly(), 1)
    with pytest.raises(DataError, match=r"a data worker died at batch [0-3] .* 3 times over; .*data\.workers"):
        list(items)


def test_a_death_does_not_interrupt_the_main_thread():
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


class Batches(Squares):
    """Items of tensors of several kinds, of other things, and of nothing."""

    def __getitem__(self, number):
        counted = torch.arange(30, dtype=torch.uint8).view(5, 6) + number
        return {"a": [counted.T, torch.tensor(number)], "b": torch.empty(0, 3), "c": (counted > 9, f"n{number}", None)}


def same(one, other):
    return all(
        torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y
        for x, y in zip([*one["a"], one["b"], *one["c"]], [*other["a"], other["b"], *other["c"]], strict=True)
    )


def full(*_):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("short", [False, True])
def test_tensors_arrive_as_they_are_also_where_no_memory_can_be_shared(short, monkeypatch, caplog):
    monkeypatch.setattr("nextpatch.data.transport._told", False)
    if short:
        monkeypatch.setattr(os, "posix_fallocate", full)
    assert all(map(same, in_order(Batches(), 2), in_order(Batches(), 0)))
    assert [r.getMessage().count("No space left on device") for r in caplog.records] == [1] * short


def test_what_cannot_be_sent_ends_with_its_cause(monkeypatch):
    monkeypatch.setattr(Batches, "__getitem__", lambda items, number: lambda: 0)
    with pytest.raises(DataError, match=r"batch 0 .*could not be sent.*pickle.*lambda.*data\.workers"):
        list(in_order(Batches(), 1))


@pytest.mark.parametrize("limit", ["RLIMIT_FSIZE", "RLIMIT_NOFILE"])
def test_limits_of_the_system_end_or_are_passed_by_and_never_hang(limit):
    """So many open files that workers cannot be begun, or not received from; and files of no length."""
    number, before = getattr(resource, limit), resource.getrlimit(getattr(resource, limit))
    handles = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
    for soft in [0] if limit == "RLIMIT_FSIZE" else range(handles, handles + 14, 2):
        resource.setrlimit(number, (soft, before[1]))
        said = ""
        try:
            assert len([*in_order(Batches(), 2, stall_s=5)]) == 7
        except DataError as error:
            said = str(error)
        finally:
            resource.setrlimit(number, before)
        assert "open files" in said or not said
        assert limit == "RLIMIT_NOFILE" or not said
    assert not multiprocessing.active_children()
