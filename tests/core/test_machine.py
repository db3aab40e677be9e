"""Nothing needs what Linux alone has."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest
import torch

import nextpatch
from nextpatch.core.machine import boot_id, memory_bytes, usable_cores
from nextpatch.data.tar import whole
from nextpatch.data.workers import in_order

LINUX = ("sched_getaffinity", "memfd_create", "posix_fallocate", "posix_fadvise", "sysconf")


@pytest.fixture
def elsewhere(monkeypatch):
    """Without the calls that other systems lack."""
    for name in LINUX:
        monkeypatch.delattr(os, name, raising=False)
    monkeypatch.delattr(signal, "pthread_sigmask")
    monkeypatch.setattr(whole, "fcntl", None)
    monkeypatch.setattr("nextpatch.core.machine._BOOT", Path("/nowhere"))


def test_cores_memory_workers_and_locks_work_elsewhere(elsewhere, tmp_path):
    assert usable_cores() >= 1
    assert memory_bytes() > 2**30
    assert boot_id() == ""
    assert [item.tolist() for item in in_order([torch.arange(n) for n in range(3)], 1)] == [[], [0], [0, 1]]
    with whole.one_writer(tmp_path):
        assert (tmp_path / "lock").exists()


def test_cores_and_memory_are_asked_in_one_place():
    package = Path(nextpatch.__file__).parent
    calls = re.compile(r"sched_getaffinity|SC_PHYS_PAGES|boot_id\"")
    found = {p.relative_to(package).as_posix() for p in package.rglob("*.py") if calls.search(p.read_text("utf-8"))}
    assert found == {"core/machine.py"}
