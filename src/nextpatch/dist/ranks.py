"""The processes of one run and what they tell each other: numbers, plain values, and that one of them failed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from nextpatch.core.writer import only_writer
from nextpatch.dist.launch import LAUNCHED, end_with_launcher, launched, wait_for_rendezvous
from nextpatch.dist.rendezvous import join_rendezvous

_PATIENCE = timedelta(minutes=30)  # the longest that one rank may make the others wait (building an index, say)


class PeerError(RuntimeError):
    """Another rank failed; the message names it and says what it said."""


@dataclass(frozen=True)
class Ranks:
    """`size` processes (ranks) that train one model, this one being number `rank`; without torchrun there is one.

    Every method but the properties is collective: all ranks must call it, in the same order. Values travel as JSON or
    as float64 through the CPU; gradients and weights do not travel here.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    spread: bool = False  # whether torchrun started this run, be it with one process
    group: Any = None  # of gloo, for CPU values; None is the default one

    @classmethod
    @contextmanager
    def opened(cls) -> Iterator[Ranks]:
        """The ranks that torchrun describes in the environment, connected; one process alone where it does not.

        On a machine with GPUs, rank k of the machine computes on GPU k from here on. A rank ends with its launcher.
        """
        if not launched():
            yield cls()
            return
        end_with_launcher()
        rank, size, local_rank, local_size = (int(os.environ[name]) for name in LAUNCHED)
        if local_size == size and sys.platform == "linux":
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # one machine: nothing listens beyond it
        if torch.cuda.is_available():
            torch.cuda.set_device(local_rank)
        wait_for_rendezvous()
        store, _, _ = next(rendezvous("env://", rank, size, timeout=_PATIENCE))
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
            store=join_rendezvous(store, rank, size, _PATIENCE),
            rank=rank,
            world_size=size,
            timeout=_PATIENCE,
        )
        yield cls(rank, size, local_rank, local_size, spread=True)
        dist.destroy_process_group()  # not after an error: with a dead peer it may wait for ever

    @property
    def is_main(self) -> bool:
        """Whether this is the rank that writes files and talks."""
        return self.rank == 0

    def side_group(self) -> Ranks:
        """The same processes on a line of their own, for a thread beside the training."""
        return replace(self, group=dist.new_group(backend="gloo", timeout=_PATIENCE) if self.spread else None)

    def sum(self, values: Sequence[float]) -> list[float]:
        """The sums over all ranks, the same on each; float64."""
        if not self.spread:
            return [float(value) for value in values]
        total = torch.tensor(list(values), dtype=torch.float64)
        dist.all_reduce(total, dist.ReduceOp.SUM, group=self.group)
        found: list[float] = total.tolist()
        return found

    def all_sum(self, values: Tensor) -> Tensor:
        """The sum over all ranks of a tensor of one shape and type, the same on each; on the tensor's device."""
        if not self.spread or self.size == 1:
            return values
        total = values.detach().clone()
        dist.all_reduce(total, dist.ReduceOp.SUM, group=self.group)
        return total

    def all_mean(self, values: Tensor) -> Tensor:
        """`all_sum` divided by the number of ranks."""
        return self.all_sum(values) / self.size if self.spread and self.size > 1 else values

    def gathered(self, values: Tensor) -> Tensor:
        """The rows of all ranks' tensors, rank by rank, the same on each; they may have different numbers of them."""
        if not self.spread or self.size == 1:
            return values
        counts = [int(count) for count in self.gather(len(values))]
        padded = values.new_zeros(max(counts), *values.shape[1:])
        padded[: len(values)] = values
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded, group=self.group)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    def gather(self, value: Any) -> list[Any]:
        """Every rank's plain value, in the order of ranks, on every rank."""
        if not self.spread:
            return [value]
        mine = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        dist.all_gather(sizes, torch.tensor([len(mine)]), group=self.group)
        longest = max(int(size) for size in sizes)
        texts = [torch.zeros(longest, dtype=torch.uint8) for _ in range(self.size)]
        padded = torch.zeros(longest, dtype=torch.uint8)
        padded[: len(mine)] = mine
        dist.all_gather(texts, padded, group=self.group)
        return [_read(text[: int(size)]) for text, size in zip(texts, sizes, strict=True)]

    def broadcast(self, value: Any) -> Any:
        """Rank 0's plain value, on every rank."""
        return self.gather(value if self.is_main else None)[0]

    @contextmanager
    def raise_on_all(self) -> Iterator[None]:
        """What fails inside on one rank fails on all when they meet at its end; nothing inside may be collective.

        The rank that failed raises its own error, the others PeerError.
        """
        error: Exception | None = None
        try:
            yield
        except Exception as caught:
            error = caught
        said = self.gather(None if error is None else f"{type(error).__name__}: {error}")
        if error is not None:
            raise error
        if failed := [f"rank {rank}: {text}" for rank, text in enumerate(said) if text is not None]:
            raise PeerError("; ".join(failed))

    @contextmanager
    def only_writer(self, out: Path, verb: str, *, file: bool = False) -> Iterator[None]:
        """Rank 0 holds an output for all; where another process holds it, InUseError there and PeerError on the others."""
        with ExitStack() as held:
            with self.raise_on_all():
                if self.is_main:
                    held.enter_context(only_writer(out, verb, file=file))
            yield

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Rank 0 does what is inside, then the others: what it leaves on the disk they find. Fails on all as one."""
        for turn in (True, False):
            with self.raise_on_all():
                if self.is_main == turn:
                    yield
                    break
        # the leader meets the others once more, at the end of their turn
        if self.is_main:
            with self.raise_on_all():
                pass


def _read(text: Tensor) -> Any:
    return json.loads(bytes(text.tolist()))


ALONE = Ranks()
