"""AdamW: which parameters decay, and its state by parameter name, there and back."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from nextpatch.train.config import OptimConfig

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


def optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """The optimizer's whole state as tensors "parameter/entry" (entries: step, exp_avg, exp_avg_sq).

    Names do not depend on the order or grouping of parameters. Empty before the first update.
    """
    return {
        f"{name}/{entry}": value
        for name, param in model.named_parameters()
        for entry, value in optimizer.state.get(param, {}).items()
    }


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave, bit for bit; a ValueError names what does not fit the model."""
    params = dict(model.named_parameters())
    found: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        name, _, entry = key.rpartition("/")
        found.setdefault(name, {})[entry] = value
    if found.keys() != params.keys():
        odd = ", ".join(sorted(found.keys() ^ params.keys())[:4])
        raise ValueError(
            f"the optimizer's state is not of this model: {odd} only on one side; use the run's own recipe"
        )
    for name, entries in found.items():
        param = params[name]
        if any(value.ndim and value.shape != param.shape for value in entries.values()):
            raise ValueError(
                f"the optimizer's state of {name} has another shape than the model's; use the run's recipe"
            )
        optimizer.state[param] = {entry: _placed(value, param) for entry, value in entries.items()}


def _placed(value: Tensor, param: Tensor) -> Tensor:
    """Moments and step counts alike live where the fused kernels want them: on the parameter's device."""
    return value.to(param.device, copy=True)
