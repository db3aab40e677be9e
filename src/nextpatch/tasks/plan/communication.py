"""How long GPUs exchange data: what each sends, over the slowest link on its way, and a little for every message.

A group of s ranks, g of them in each machine. Exchanging D bytes, an all-gather or reduce-scatter makes each rank send
D (s - 1) / s in s - 1 rounds around a ring. Rings cross between machines at g places, so that all g network cards
carry a part: the group moves data at min(link, g x network). An all-reduce sends twice as much; between machines its
messages go up and down a tree. Every call begins with 8.4 us, a round takes 3.4 us over NVLink, 5.7 us over PCIe and
14 us over a network. Source of the model and of the latencies: how NCCL itself compares its algorithms
(src/graph/tuning.cc).
"""

from __future__ import annotations

from math import ceil, log2
from typing import NamedTuple

from nextpatch.tasks.plan.gpus import Gpu

_CALL_S, _NETWORK_S = 8.4e-6, 14e-6


class RankGroup(NamedTuple):
    """Ranks that exchange data, and how many of them share a machine."""

    ranks: int
    within: int

    @property
    def sent_share(self) -> float:
        """What a rank sends of the data that is gathered or scattered."""
        return (self.ranks - 1) / self.ranks

    @property
    def machines(self) -> int:
        """How many machines the group lies on."""
        return -(-self.ranks // self.within)

    def speed(self, gpu: Gpu) -> float:
        """Bytes a second that each rank sends."""
        gbs = gpu.intra_gbs if self.machines == 1 else min(gpu.intra_gbs, self.within * gpu.inter_gbs)
        return gbs * 1e9


def shard_group(shard: int, gpus_per_node: int) -> RankGroup:
    """The ranks that hold one copy together: neighbors."""
    return RankGroup(shard, min(shard, gpus_per_node))


def replica_group(replicate: int, shard: int, gpus_per_node: int) -> RankGroup:
    """The ranks that hold the same part of each copy: every `shard`-th."""
    return RankGroup(replicate, max(1, min(replicate, gpus_per_node // shard)))


def ring_s(gpu: Gpu, group: RankGroup, sent_bytes: float, calls: int) -> float:
    """Seconds in which a rank sends so many bytes in `calls` all-gathers or reduce-scatters; 0 for a group of one."""
    near, far = group.ranks - group.machines, group.machines - 1
    return _seconds(gpu, group, sent_bytes, calls, near, far)


def all_reduce_s(gpu: Gpu, group: RankGroup, sent_bytes: float, calls: int) -> float:
    """The same for all-reduces."""
    return _seconds(gpu, group, sent_bytes, calls, 2 * (group.within - 1), 2 * ceil(log2(group.machines)))


def _seconds(gpu: Gpu, group: RankGroup, sent_bytes: float, calls: int, near: int, far: int) -> float:
    if group.ranks == 1:
        return 0.0
    return sent_bytes / group.speed(gpu) + calls * (_CALL_S + near * gpu.round_us * 1e-6 + far * _NETWORK_S)
