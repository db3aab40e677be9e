"""A model from nothing: made without memory, spread over the ranks, and only then given memory and its first values."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, distribute_tensor

from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.init import init_weights
from nextpatch.model.precision import Dtype
from nextpatch.dist.config import EngineConfig
from nextpatch.dist.parallelize import parallelize


def materialize(
    cfg: ModelConfig, seed: int, mesh: DeviceMesh | None = None, engine: EngineConfig | None = None,
    precision: Dtype = "fp32", device: torch.device | str = "cpu",
) -> AIM:  # fmt: skip
    """The model with the initial weights of `seed`, the same for any mesh; no rank ever holds more than its part.

    Every new model of the package comes from here; one around weights that are there from `weights.build`.

    Memory is filled with NaN before the initialisation, and what is still NaN after it is an error: nothing starts
    from what happened to lie there.
    """
    with torch.device("meta"):
        model = AIM(cfg)
    parallelize(model, mesh, engine or EngineConfig(), precision)
    model.to_empty(device=device)
    with torch.no_grad():
        for values in (*model.parameters(), *model.buffers()):
            values.fill_(float("nan"))
    init_weights(model, seed, put)
    if left := [name for name, values in (*model.named_parameters(), *model.named_buffers()) if not _finite(values)]:
        raise RuntimeError(f"the initialisation left {', '.join(left)} undefined")
    return model


def put(into: Tensor, values: Tensor) -> None:
    """Copy `values`, the same on all ranks, into a tensor that may be spread over them; nothing travels."""
    if isinstance(into, DTensor):
        whole = values.to(into.device, into.dtype)
        part = distribute_tensor(whole, into.device_mesh, into.placements, src_data_rank=None)
        into.to_local().copy_(part.to_local())
    else:
        into.copy_(values)


def _finite(values: Tensor) -> bool:
    own = values.to_local() if isinstance(values, DTensor) else values
    return bool(torch.isfinite(own).all())
