"""A study on Ray, of whose workers one is killed, ends as one on this machine's own processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from nextpatch.config import dumps_toml
from nextpatch.study.kept import as_file
from studies_made import small

RAY = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed; pip install 'nextpatch[ray]'")


def started(study: Path, out: Path, *more: str) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "nextpatch", "study", str(study), "--out", str(out), "--jobs", "2", *more]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def parent_of_a_training(out: Path) -> int:
    """The process that has started a training of this study: a worker of Ray's; 0 where there is none now."""
    for found in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = found.read_bytes().decode().split("\0")
            if "nextpatch.study.child" in words and any(str(out) in word for word in words):
                return int((found.parent / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
    return 0


@RAY
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(sys.platform != "linux", reason="finds the parent of a process in /proc")
def test_a_study_on_ray_with_a_worker_killed_ends_as_one_without_ray(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text(dumps_toml(as_file(small())))
    study = started(file, tmp_path / "ray", "--ray")
    while not (worker := parent_of_a_training(tmp_path / "ray")) and study.poll() is None:
        time.sleep(0.05)
    assert worker not in (0, study.pid)
    os.kill(worker, signal.SIGKILL)
    _, told = study.communicate()
    assert study.returncode == 0, told.decode()
    alone = started(file, tmp_path / "alone")
    _, told = alone.communicate()
    assert alone.returncode == 0, told.decode()
    assert (tmp_path / "ray" / "study.json").read_bytes() == (tmp_path / "alone" / "study.json").read_bytes()


def test_without_ray_the_flag_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nextpatch.core.errors import ConfigError
    from nextpatch.study.run import run_study

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'nextpatch\[ray\]'"):
        run_study(small(), tmp_path / "out", ray=True)
