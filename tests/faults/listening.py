"""Who listens where while a run goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from figure import Figure
from tries import forged


def sockets() -> Figure:
    """P22: who listens where while a run goes on, alone and under torchrun."""
    with forged() as place:
        words = [
            "-m",
            "nextpatch",
            "pretrain",
            "--data",
            str(place / "photos"),
            "--model",
            "nano",
            "--train.steps",
            "2000",
        ]
        alone = _listening([sys.executable, *words, "--out", str(place / "alone")], place / "alone")
        torchrun = [str(Path(sys.executable).with_name("torchrun")), "--standalone", "--nproc-per-node", "2"]
        two = _listening([*torchrun, *words, "--out", str(place / "two")], place / "two")
    ours = [name for name in two if "torchrun" not in name]
    torchs = len(two) - len(ours)
    return Figure(
        f"one process: {len(alone)}; two ranks: {len(ours)}, and torchrun's own meeting point: {torchs}",
        not alone and not ours,
    )


def _listening(words: list[str], out: Path) -> list[str]:
    """Commands of a process tree's members that listen beyond loopback, while it trains."""
    with subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        until = time.monotonic() + 90
        while not list(out.glob("metrics.jsonl")) and time.monotonic() < until:
            time.sleep(0.2)
        time.sleep(2)
        members = _tree(process.pid)
        open_to_all = _open_sockets()
        found = []
        for pid in members:
            links = [link for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()]
            names = {os.readlink(link) for link in links if os.path.lexists(link)}  # noqa: PTH115
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            found += [command for name in names if name.startswith("socket:[") and name[8:-1] in open_to_all]
        os.killpg(process.pid, signal.SIGKILL)
    return found


def _tree(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found, left = [], [root]
    while left:
        found.append(left.pop())
        left += children.get(found[-1], [])
    return found


def _open_sockets() -> set[str]:
    """Inodes of TCP sockets that listen on anything but loopback."""
    found = set()
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            address = fields[1].split(":")[0]
            loopback = address.endswith("0100007F") or address == "00000000000000000000000001000000"
            if fields[3] == "0A" and not loopback:
                found.add(fields[9])
    return found
