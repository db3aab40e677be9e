"""Killed anywhere, resumed: the same bits. A few tries of what `runs/promises.sh` does by the hundreds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nextpatch.runs.checkpoint import POINTS

FAULTS = Path(__file__).parent


def one(name: str) -> dict[str, object]:
    """A promise's figure, by a process of its own, which forks."""
    words = [sys.executable, str(FAULTS / "promises.py"), "one", name, "--few"]
    paths = [str(FAULTS.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_run_killed_anywhere_ends_with_the_same_bits(capsys: pytest.CaptureFixture[str]) -> None:
    found = one("P1")
    assert found["met"], found
    assert int(str(found["figure"]).split()[0]) >= len(POINTS)
    with capsys.disabled():
        print(f"[{found['figure']}] ", end="")


@pytest.mark.slow
def test_same_seed_same_bits() -> None:
    assert one("P18")["met"]
