"""Spreads a model over ranks, from outside of it: activation checkpointing -> compile per block -> fully_shard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from nextpatch.model.aim import AIM
from nextpatch.model.layers import Block
from nextpatch.model.precision import Dtype
from nextpatch.dist.config import EngineConfig, Recompute

_aten = torch.ops.aten
_KEPT = {  # by selective checkpointing: what costs the most to compute again, for the memory it takes
    _aten.mm.default,
    _aten.addmm.default,
    _aten.bmm.default,
    _aten._scaled_dot_product_flash_attention.default,
    _aten._scaled_dot_product_efficient_attention.default,
    _aten._scaled_dot_product_cudnn_attention.default,
    _aten._scaled_dot_product_flash_attention_for_cpu.default,
    _aten._scaled_dot_product_attention_math.default,
}


def parallelize(model: AIM, mesh: DeviceMesh | None, engine: EngineConfig, precision: Dtype) -> None:
    """Make `model` compute as `engine` says, in place; its parameters become DTensors when there is a mesh.

    `mesh` has the dimensions ("replicate", "shard"): each parameter is cut along its first axis among the ranks of a
    shard group, and kept equal among the groups. Gradients are SUMS over ranks, in the parameters' own format
    (float32), whatever format the products are computed in; the residual stream stays float32. Sources: FSDP2's
    documentation; the order of the three steps is the one in which they compose.
    """
    for block in (*model.trunk.blocks, *_of_heads(model)):
        if isinstance(block, Block):  # an MLP block keeps little that its own products do not
            _recompute(block, engine.activation_checkpointing)
    if engine.compile:
        for block in model.trunk.blocks[:-1]:  # the last one runs as `rows`, on another number of rows every time
            block.compile(fullgraph=True)
        for block in _of_heads(model):
            block.compile(fullgraph=True, dynamic=True if model.head.packed else None)
    if mesh is not None:
        _shard(model, mesh, precision)


def fsdp_modules(model: nn.Module) -> Iterator[FSDPModule]:
    """The parts of `model` that are gathered and freed one by one; none when it was not sharded."""
    return (module for module in model.modules() if isinstance(module, FSDPModule))


def all_reduce_at_the_end(model: nn.Module, last: bool) -> None:
    """Whether the coming backward pass is the `last` of a step: only then replicas exchange what they summed up."""
    if isinstance(model, FSDPModule):
        model.set_requires_all_reduce(last)


def _of_heads(model: AIM) -> list[nn.Module]:
    """The blocks of all heads."""
    return [*model.head.blocks, *([] if model.paper_head is None else model.paper_head.blocks)]


def _recompute(block: nn.Module, how: Recompute) -> None:
    """Keep of a block's `forward` and `rows` only their inputs ("full"), or beside them what is in `_KEPT`."""
    if how == "none":
        return
    contexts = partial(create_selective_checkpoint_contexts, _policy)
    options: dict[str, Any] = {"context_fn": contexts} if how == "selective" else {}
    for name in ("forward", "rows"):
        setattr(block, name, _checkpointed(getattr(block, name), options))


def _checkpointed(function: Callable[..., Any], options: dict[str, Any]) -> Callable[..., Any]:
    def recomputed(*args: Any) -> Any:
        # nothing in a block is drawn by chance, so no generator's state is kept
        return checkpoint(function, *args, use_reentrant=False, preserve_rng_state=False, **options)

    return recomputed


def _policy(ctx: Any, op: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
    return CheckpointPolicy.MUST_SAVE if op in _KEPT else CheckpointPolicy.PREFER_RECOMPUTE


def _shard(model: AIM, mesh: DeviceMesh, precision: Dtype) -> None:
    own = next(model.parameters()).dtype
    policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if precision == "bf16" else own, reduce_dtype=own, cast_forward_inputs=False
    )
    mesh = mesh["shard"] if mesh["replicate"].size() == 1 else mesh
    for module in (*model.trunk.blocks, *_of_heads(model), model):
        fully_shard(module, mesh=mesh, mp_policy=policy, reshard_after_forward=True)
    for part in fsdp_modules(model):  # plain sums: the loss's one denominator already counts every rank's patches
        part.set_gradient_divide_factor(1.0)
        part.set_force_sum_reduction_for_comms(True)
    for block in (*model.trunk.blocks, *_of_heads(model)):
        if isinstance(block, Block):
            register_fsdp_forward_method(block, "rows")
    for method in ("predict", "predict_rows", "loss_rows", "generate", "generate_rows", "of_head"):
        register_fsdp_forward_method(model, method)


def full(tensor: Tensor) -> Tensor:
    """A tensor that may be spread over ranks, whole on every one of them (collective)."""
    whole: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return whole
