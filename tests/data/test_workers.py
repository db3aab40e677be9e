from __future__ import annotations

import os

import pytest
import torch

from nextpatch.data.workers import in_order


class Squares:
    def __len__(self):
        return 7

    def __getitem__(self, number):
        return number * number, os.getpid(), torch.get_num_threads()


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_items_come_in_order_from_that_many_processes(workers):
    items = list(in_order(Squares(), workers))
    assert [item[0] for item in items] == [0, 1, 4, 9, 16, 25, 36]
    processes = {item[1] for item in items}
    assert len(processes) == max(1, workers)
    assert (os.getpid() in processes) == (workers == 0)
    assert workers == 0 or all(item[2] == 1 for item in items)
