"""Loading for a long time takes no more memory than loading for a short one."""

from __future__ import annotations

import multiprocessing
import os
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from nextpatch.data.config import DataConfig
from nextpatch.data.loader import TrainStream
from nextpatch.data.mixture import Mixture, MixturePart


def own_memory_kib(pid):
    """What a process holds that it shares with nobody, in KiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Private_", "Anonymous")))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's /proc")
def test_twenty_thousand_batches_do_not_leak(memory, capsys):
    source = memory(500, bad=(3,))
    stream = TrainStream(
        source,
        Mixture([MixturePart(np.full(50, 10), np.empty(0, np.int64), False)], 0, 4, 2),
        DataConfig(),
        (8, 8),
        1,
        0,
        2,
    )
    points = []
    for number, _ in enumerate(islice(stream.batches(0, 8), 20_001)):
        if number and number % 2000 == 0:
            pids = [os.getpid(), *(p.pid for p in multiprocessing.active_children())]
            points.append((number, sum(map(own_memory_kib, pids))))
    batches, kib = np.array(points[2:]).T  # once everything is loaded
    slope = np.polyfit(batches / 1000, kib, 1)[0]
    with capsys.disabled():
        print(f"[20,000 batches, 2 workers: {slope:+.1f} KiB per 1,000] ", end="")
    assert slope < 64
