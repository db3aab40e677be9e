"""A function of a test in several processes at once, connected as torchrun would connect them."""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_LIMIT_S = 120


def run_ranks(
    function: Callable[..., Any], world_size: int, *args: Any, env: dict[str, str] | None = None
) -> list[Any]:
    """What `function(*args)`, of a module's top level, returns on each rank; arguments and results are plain values.

    A failure on any rank is an AssertionError with what that rank printed.
    """
    with tempfile.TemporaryDirectory() as name, socket.socket() as taken:
        folder = Path(name)
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        taken.close()
        call = [inspect.getsourcefile(function), function.__name__, args]
        processes = [_start(call, folder, rank, world_size, port, env or {}) for rank in range(world_size)]
        try:
            _wait(processes, folder)
        finally:
            for process in processes:
                process.kill()
                process.wait()
        return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(world_size)]


def _start(
    call: list[Any], folder: Path, rank: int, world_size: int, port: int, env: dict[str, str]
) -> subprocess.Popen[bytes]:
    given = {
        "RANK": rank, "WORLD_SIZE": world_size, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": world_size,
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1, "PYTHONPATH": Path(__file__).parent,
    }  # fmt: skip
    with (folder / f"{rank}.txt").open("wb") as said:
        return subprocess.Popen(
            [sys.executable, __file__, json.dumps(call), str(folder / f"{rank}.json")],
            env={**os.environ, **{name: str(value) for name, value in given.items()}, **env},
            stdout=said,
            stderr=subprocess.STDOUT,
        )


def _wait(processes: list[subprocess.Popen[bytes]], folder: Path) -> None:
    """Until all are done; the first that fails, or the time limit, is an AssertionError."""
    until = time.monotonic() + _LIMIT_S
    while any(process.poll() is None for process in processes):
        if any(process.poll() for process in processes) or time.monotonic() > until:
            time.sleep(1.0)  # for the others to fail as well: the cause may be theirs
            break
        time.sleep(0.02)
    if any(process.poll() != 0 for process in processes):
        said = [f"rank {n}, {p.poll()}:\n{(folder / f'{n}.txt').read_text()[-4000:]}" for n, p in enumerate(processes)]
        raise AssertionError("\n".join(said))


def _child() -> None:
    (path, name, args), out = json.loads(sys.argv[1]), Path(sys.argv[2])
    spec = importlib.util.spec_from_file_location("ranked", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["ranked"] = module
    spec.loader.exec_module(module)
    out.write_text(json.dumps(getattr(module, name)(*args)))
    os._exit(0)  # threads of gloo may outlive the interpreter, and abort it


if __name__ == "__main__":
    _child()
