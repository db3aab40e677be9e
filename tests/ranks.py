"""A function of a test in several processes at once, connected as torchrun would connect them.

The processes are forked off a nursery, a process that has imported PyTorch and waits: to import it costs more than most
of these tests.
"""

from __future__ import annotations

import atexit
import functools
import importlib.util
import inspect
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
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
        given = {
            "WORLD_SIZE": world_size, "LOCAL_WORLD_SIZE": world_size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
            "OMP_NUM_THREADS": 1, **(env or {}),
        }  # fmt: skip
        call = [inspect.getsourcefile(function), function.__name__, args]
        codes = _ordered({"call": call, "folder": name, "ranks": world_size, "env": given})
        if any(codes):
            said = [f"rank {n}, {code}:\n{(folder / f'{n}.txt').read_text()[-4000:]}" for n, code in enumerate(codes)]
            raise AssertionError("\n".join(said))
        return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(world_size)]


def run_alone(function: Callable[..., Any], *args: Any, env: dict[str, str] | None = None) -> Any:
    """What `function(*args)` returns in a process of its own, which has loaded PyTorch but not the Hub's library."""
    return run_ranks(function, 1, *args, env=env)[0]


@functools.cache
def _nursery() -> subprocess.Popen[str]:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    nursery = subprocess.Popen(
        [sys.executable, __file__], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert nursery.stdin is not None
    atexit.register(nursery.stdin.close)
    return nursery


def _ordered(order: dict[str, Any]) -> list[int]:
    """The exit codes of the ranks of an order; minus a signal for one that was killed."""
    nursery = _nursery()
    assert nursery.stdin is not None
    assert nursery.stdout is not None
    nursery.stdin.write(json.dumps(order) + "\n")
    nursery.stdin.flush()
    codes: list[int] = json.loads(nursery.stdout.readline())
    return codes


def _serve() -> None:
    """Of the nursery: ranks for every order, until nobody is left to give one."""
    import torch.distributed.checkpoint
    import torch.distributed.fsdp

    import nextpatch.tasks.pretrain.run  # noqa: F401

    assert torch.get_num_threads() == 1
    for line in sys.stdin:
        order = json.loads(line)
        ranks = {_forked(order, rank): rank for rank in range(order["ranks"])}
        codes = _awaited(ranks)
        print(json.dumps([codes[rank] for rank in range(order["ranks"])]), flush=True)


def _forked(order: dict[str, Any], rank: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    folder = Path(order["folder"])
    code = 1
    try:
        said = os.open(folder / f"{rank}.txt", os.O_WRONLY | os.O_CREAT)
        for stream in (1, 2):
            os.dup2(said, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ |= {name: str(value) for name, value in order["env"].items()}
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        _run(order["call"], folder / f"{rank}.json")
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # threads of gloo may outlive the interpreter, and abort it


def _awaited(ranks: dict[int, int]) -> dict[int, int]:
    """Exit codes by rank. The first that fails, the time limit, or the death of who asked ends the others."""
    until, codes = time.monotonic() + _LIMIT_S, dict[int, int]()
    while len(codes) < len(ranks):
        for pid in [pid for pid, rank in ranks.items() if rank not in codes]:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                codes[ranks[pid]] = os.waitstatus_to_exitcode(status)
                if codes[ranks[pid]]:
                    until = min(until, time.monotonic() + 1.0)  # others may fail as well: the cause may be theirs
        if time.monotonic() > until or _alone():
            for pid in [pid for pid, rank in ranks.items() if rank not in codes]:
                os.kill(pid, signal.SIGKILL)
            until = float("inf")
        time.sleep(0.01)
    return codes


def _alone() -> bool:
    """Whether whoever gives the orders has gone: nothing is written to us while an order is open."""
    return bool(select.select([sys.stdin], [], [], 0)[0])


def _run(call: list[Any], out: Path) -> None:
    path, name, args = call
    spec = importlib.util.spec_from_file_location("ranked", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["ranked"] = module
    spec.loader.exec_module(module)
    out.write_text(json.dumps(getattr(module, name)(*args)))


if __name__ == "__main__":
    _serve()
