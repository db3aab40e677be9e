"""Which ranks hold a copy of the model together, and which hold copies of each other's parts."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from nextpatch.config import ConfigError
from nextpatch.core.text import plain
from nextpatch.dist.config import EngineConfig
from nextpatch.dist.ranks import Ranks

_STATE_BYTES = 16  # a parameter with its gradient and AdamW's two moments, in float32
_REPLICATED_SHARE = 0.25  # of a device's memory that these may take before they are sharded
_NODE_SHARE = 0.5  # and before they are sharded over more than one machine


class Mesh(NamedTuple):
    """So many copies of the model, each spread over so many ranks; and why, in words."""

    replicate: int
    shard: int
    why: str


def mesh_shape(engine: EngineConfig, ranks: Ranks, params: int, device_bytes: int) -> Mesh:
    """The mesh for `params` parameters on devices of `device_bytes` memory each; it fills the ranks.

    What the config leaves open: nothing is sharded while weights, gradients and optimizer take at most a quarter of a
    device; beyond that they are sharded within a machine, where the links are fast, if that halves the devices at most;
    else over all ranks. ConfigError when the given numbers do not divide the ranks.
    """
    size, local = ranks.size, ranks.local_size
    replicate, shard = engine.replicate, engine.shard
    why = "as engine.replicate and engine.shard say"
    if not replicate and not shard:
        state = _STATE_BYTES * params
        needed, there = plain(state / 2**30), plain(device_bytes / 2**30)
        why = f"weights, gradients and optimizer take {needed} GiB, a device has {there}"
        if state <= _REPLICATED_SHARE * device_bytes:
            shard = 1
        elif size % local == 0 and state <= _NODE_SHARE * device_bytes * local:
            shard = local
        else:
            shard = size
    replicate, shard = replicate or size // max(1, shard), shard or size // max(1, replicate)
    if replicate * shard != size:
        raise ConfigError(
            f"engine.replicate {replicate} x engine.shard {shard} is not {size}, the number of ranks; "
            "leave out one of them, or start another number of processes"
        )
    return Mesh(replicate, shard, why)


def open_mesh(shape: tuple[int, int], device: torch.device) -> DeviceMesh:
    """The mesh ("replicate", "shard") of that shape over all ranks; shard groups are neighbors."""
    return init_device_mesh(device.type, shape, mesh_dim_names=("replicate", "shard"))
