"""What came of trying a promise: by tests of the suite, or by something of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
_LIMIT_S = 1500


class Figure(NamedTuple):
    """What came out, in words, and whether the bar was reached; None where nothing can be said."""

    figure: str
    met: bool | None


def pytest_figure(*words: str) -> Figure:
    """What tests print between brackets, and how many passed."""
    command = [sys.executable, "-m", "pytest", "-m", "slow or not slow", "-p", "no:cacheprovider", *words]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=_LIMIT_S)
    said = re.findall(r"\[([^\[\]]*[a-z]{2}[^\[\]]*)\]", done.stdout)
    said = [text for text in said if "%" not in text and text.strip() != "100"]
    counted = re.search(r"(\d+) passed", done.stdout)
    passed = counted[1] if counted else "no"
    failed = "" if done.returncode == 0 else f"; FAILED: {done.stdout[-300:]}"
    return Figure("; ".join([*said, f"{passed} tests passed"]) + failed, done.returncode == 0)


def tested(*words: str) -> Callable[[], Figure]:
    """A promise that tests keep."""
    return lambda: pytest_figure(*words)
