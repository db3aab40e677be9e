"""AdamW: which parameters get weight decay, and its state saved and loaded by parameter name."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nextpatch.runs.config import OptimConfig

_FUSED_DEVICES = ("cpu", "cuda")


def build_optimizer(model: nn.Module, optim: OptimConfig) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices only: biases and norms have fewer than two dimensions (Table 10).

    One fused kernel per step on a CPU and on CUDA. The learning rate is the schedule's to set, at every step.
    """
    params = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in params if p.ndim >= 2], "weight_decay": optim.weight_decay},
        {"params": [p for p in params if p.ndim < 2], "weight_decay": 0.0},
    ]
    fused = all(p.device.type in _FUSED_DEVICES for p in params)
    return torch.optim.AdamW(groups, lr=optim.lr, betas=optim.betas, eps=optim.eps, fused=fused)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Use `lr` for the next update of every parameter."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def prepare_state(optimizer: torch.optim.Optimizer) -> None:
    """Give AdamW the state that it would make at its first update: what does not fit into memory shows at once."""
    for group in optimizer.param_groups:
        for param in group["params"]:
            step = torch.zeros((), dtype=torch.float32, device=param.device if group["fused"] else "cpu")
            optimizer.state[param] = {
                "step": step, "exp_avg": torch.zeros_like(param), "exp_avg_sq": torch.zeros_like(param)
            }  # fmt: skip


def optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """The optimizer's whole state as tensors "parameter/entry" (entries: step, exp_avg, exp_avg_sq).

    Names do not depend on the order or grouping of parameters. Empty before the first update or `prepare_state`.
    """
    return {
        f"{name}/{entry}": value
        for name, param in model.named_parameters()
        for entry, value in optimizer.state.get(param, {}).items()
    }
