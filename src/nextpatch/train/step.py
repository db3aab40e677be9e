"""One optimizer step: gradients of the global batch's loss, the finiteness check, clipping, the update."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from nextpatch.data.loader import Batch
from nextpatch.model.aim import AIM
from nextpatch.model.config import ModelConfig
from nextpatch.model.objective import draw_prefix, scored_count
from nextpatch.train.compute import Compute

_KEYS_SHOWN = 8


class NonFiniteError(RuntimeError):
    """The loss or the gradients are not finite; weights and optimizer are as they were before the step."""


class StepResult(NamedTuple):
    """Loss of the global batch (mean over its scored patches) and global gradient norm before clipping."""

    loss: float
    grad_norm: float


def prefix_lengths(cfg: ModelConfig, seed: int, positions: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
    """S of each sample, from its position in the run alone; causal pre-training (Table 3d) always scores from S = 1."""
    if cfg.attention == "causal":
        return torch.ones_like(positions)
    return draw_prefix(seed, positions, cfg.num_patches)


def accumulate_gradients(
    model: AIM, batch: Batch, prefix_len: Int[Tensor, " batch"], micro_batch_size: int, compute: Compute
) -> Float[Tensor, ""]:
    """Add the gradients of the batch's loss to `.grad`, micro-batch by micro-batch; returns that loss.

    ONE denominator, the scored patches of the whole global batch, so that how the batch is cut changes nothing but
    rounding. Source: section 4.1; a mean of per-micro-batch means would weigh patches by their neighbors' prefixes.
    """
    scored = scored_count(prefix_len, model.cfg.num_patches)
    total = torch.zeros((), device=compute.device)
    for start in range(0, len(prefix_len), micro_batch_size):
        inputs = compute.inputs(batch.images[start : start + micro_batch_size])
        prefix = prefix_len[start : start + micro_batch_size]
        with compute.autocast():
            loss = model.loss_sum(inputs, prefix) / scored
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
    return total


def update(
    model: AIM, optimizer: torch.optim.Optimizer, loss: Float[Tensor, ""], clip_norm: float, batch: Batch, step: int
) -> StepResult:
    """Clip by global norm and step; `NonFiniteError` before anything changes when loss or norm is not finite."""
    params = [p for p in model.parameters() if p.grad is not None]
    norm = nn.utils.get_total_norm([p.grad for p in params if p.grad is not None])
    result = StepResult(*torch.stack((loss, norm.to(loss.dtype))).tolist())  # the step's only wait for the device
    if not (math.isfinite(result.loss) and math.isfinite(result.grad_norm)):
        raise NonFiniteError(_non_finite_message(result, batch, step))
    if result.grad_norm > clip_norm:
        nn.utils.clip_grads_with_norm_(params, clip_norm, norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return result


def _non_finite_message(result: StepResult, batch: Batch, step: int) -> str:
    shown = batch.keys[:_KEYS_SHOWN]
    rest = f" and {len(batch.keys) - len(shown)} more" if len(batch.keys) > len(shown) else ""
    return (
        f"step {step}: loss {result.loss}, gradient norm {result.grad_norm}; stopped before the update. "
        f"The batch: {', '.join(shown)}{rest}. Look at these images; then try a lower optim.lr, a lower "
        "optim.clip_norm, or train.precision fp32, in a new run."
    )
