"""Nothing needs what Linux alone has."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest
import torch

import nextpatch
from nextpatch.core import locks, machine
from nextpatch.core.locks import locked
from nextpatch.core.machine import boot_id, memory_bytes, usable_cores
from nextpatch.data.workers import in_order

LINUX = ("sched_getaffinity", "memfd_create", "posix_fallocate", "posix_fadvise", "sysconf")


@pytest.fixture
def elsewhere(monkeypatch):
    """Without the calls that other systems lack."""
    for name in LINUX:
        monkeypatch.delattr(os, name, raising=False)
    monkeypatch.delattr(signal, "pthread_sigmask")
    monkeypatch.setattr(locks, "fcntl", None)
    monkeypatch.setattr("nextpatch.core.machine._BOOT", Path("/nowhere"))


def test_cores_memory_workers_and_locks_work_elsewhere(elsewhere, tmp_path):
    assert usable_cores() >= 1
    assert memory_bytes() > 2**30
    assert boot_id() == ""
    assert [item.tolist() for item in in_order([torch.arange(n) for n in range(3)], 1)] == [[], [0], [0, 1]]
    with locked(tmp_path / "lock"):
        assert (tmp_path / "lock").exists()


@pytest.mark.parametrize(
    ("own", "files"),
    [
        ("0::/job/a", {"job/memory.max": "3000000000", "job/a/memory.max": "max", "job/cpu.max": "200000 100000"}),
        ("0::/", {"memory.max": "3000000000", "cpu.max": "190000 100000"}),
        (
            "9:memory:/x\n4:cpu,cpuacct:/x\n1:name=systemd:/",
            {"memory/x/memory.limit_in_bytes": "3000000000", "memory/memory.limit_in_bytes": str(2**63 - 4096),
             "cpu/x/cpu.cfs_quota_us": "200000", "cpu/x/cpu.cfs_period_us": "100000", "cpu/cpu.cfs_quota_us": "-1"},
        ),
    ],
)  # fmt: skip
def test_the_limits_of_a_container_or_a_job_are_those_of_its_machine(own, files, tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(machine, "_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(os, "sysconf", lambda name: {"SC_PHYS_PAGES": 2**24, "SC_PAGE_SIZE": 4096}[name])
    assert (usable_cores(), memory_bytes()) == (64, 2**36)
    (tmp_path / "own").write_text(own + "\n")
    for name, text in files.items():
        (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / name).write_text(text + "\n")
    assert (usable_cores(), memory_bytes()) == (2, 3_000_000_000)


def test_cores_and_memory_are_asked_in_one_place():
    package = Path(nextpatch.__file__).parent
    calls = re.compile(r"sched_getaffinity|SC_PHYS_PAGES|boot_id\"")
    found = {p.relative_to(package).as_posix() for p in package.rglob("*.py") if calls.search(p.read_text("utf-8"))}
    assert found == {"core/machine.py"}
