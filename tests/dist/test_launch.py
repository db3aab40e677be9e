"""A rank ends when its launcher has ended, however that was killed, and does not wait for one that is gone."""

import os
import select
import socket
import subprocess
import sys

import pytest

from nextpatch.dist.launch import wait_for_rendezvous

RANK = """
import time
from nextpatch.dist.launch import end_with_launcher
end_with_launcher()
print("ready", flush=True)
time.sleep(60)
"""
LAUNCHER = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {RANK!r}]); time.sleep(60)"
ENVIRONMENT = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}


def launched(**more):
    """A launcher and its rank; both hold the pipe."""
    clean = {name: value for name, value in os.environ.items() if name != "TORCHELASTIC_RUN_ID"}
    return subprocess.Popen(
        [sys.executable, "-c", LAUNCHER], env={**clean, **ENVIRONMENT, **more}, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip


def test_a_rank_ends_within_seconds_of_its_killed_launcher():
    with launched(TORCHELASTIC_RUN_ID="none") as torchrun, launched() as another:
        for process in (torchrun, another):
            assert process.stdout.readline() == b"ready\n"
            process.kill()
            ended, _, _ = select.select([process.stdout], [], [], 5)  # when nobody holds the other end any more
            assert ended
            assert process.stdout.read() == b""


def test_a_rank_whose_launcher_is_gone_says_so_at_the_start(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and nobody listens
        port = taken.getsockname()[1]
        place = {"TORCHELASTIC_USE_AGENT_STORE": "True", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        for name, value in {**ENVIRONMENT, **place}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("nextpatch.dist.launch._STORE_S", {True: 0.0})
        monkeypatch.setattr("nextpatch.dist.launch._POLL_S", 0.0)
        with pytest.raises(OSError, match=r"does not answer at 127\.0\.0\.1.*start the run again"):
            wait_for_rendezvous()
        taken.listen()
        wait_for_rendezvous()
