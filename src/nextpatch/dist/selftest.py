"""A self-test, once before training: whether this build of PyTorch adds up gradients over these ranks correctly."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from nextpatch.dist.parallelize import full
from nextpatch.dist.ranks import Ranks

_SMALL = 2.0**-10  # bfloat16 holds it, and 1, but not their sum


class _Weights(nn.Module):
    def __init__(self, rows: int, device: torch.device) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(rows, 2, device=device))

    def forward(self, value: Tensor) -> Tensor:
        return (self.weight * value).sum()


def check_engine(mesh: DeviceMesh, device: torch.device, ranks: Ranks) -> None:
    """RuntimeError on all ranks when a gradient's sum over ranks, or its norm, is not exact.

    Rank 0 contributes 1, every other rank 2**-10, in bfloat16. A mean in place of a sum (and a sum in place of a mean,
    which gloo once did), or a reduction in bfloat16 instead of float32, gives another number.
    """
    rows = 2 * mesh.size() + 1  # ranks get unequal parts
    module = _Weights(rows, device)
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False)
    sharded = fully_shard(module, mesh=mesh["shard"] if mesh["replicate"].size() == 1 else mesh, mp_policy=policy)
    sharded.set_gradient_divide_factor(1.0)
    sharded.set_force_sum_reduction_for_comms(True)
    own = 1.0 if ranks.is_main else _SMALL
    module(torch.tensor(own, dtype=torch.bfloat16, device=device)).backward()

    expected = 1 + (ranks.size - 1) * _SMALL
    grad = module.weight.grad
    assert grad is not None
    norm = float(full(nn.utils.get_total_norm([grad])))
    found = full(grad)
    exact = bool((found == expected).all()) and math.isclose(norm, expected * math.sqrt(2 * rows), rel_tol=1e-5)
    with ranks.raise_on_all():
        if not exact:
            raise RuntimeError(
                f"PyTorch {torch.__version__} adds up gradients over {ranks.size} ranks wrongly on {device.type}: "
                f"{found.flatten()[0].item()} (norm {norm}) instead of {expected}; use another version"
            )
