"""AdamW for fine-tuning: adapters and classifier at one rate, or every block at its own."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import nn

from nextpatch.runs.config import OptimConfig
from nextpatch.tasks.finetune.config import FinetuneConfig
from nextpatch.train.schedule import lr_at

_BETAS = (0.9, 0.999)


def build(trunk: nn.Module, classifier: nn.Module, cfg: FinetuneConfig, depth: int) -> torch.optim.AdamW:
    """Decay on matrices only; each group knows its share of the learning rate."""
    scales: dict[tuple[float, float], list[nn.Parameter]] = {}
    parts = (("trunk", trunk), ("classifier", classifier))
    for part, module in parts:
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                scale = cfg.layer_decay ** (depth - _level(name, depth)) if cfg.full and part == "trunk" else 1.0
                decay = cfg.weight_decay if parameter.ndim >= 2 else 0.0
                scales.setdefault((scale, decay), []).append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": params, "weight_decay": decay, "scale": scale} for (scale, decay), params in scales.items()
    ]
    return torch.optim.AdamW(groups, lr=cfg.peak_lr, betas=_BETAS)


def set_lr(optimizer: torch.optim.Optimizer, step: int, steps: int, cfg: FinetuneConfig, per_epoch: int) -> float:
    """Cosine after a linear warm-up, to min_lr or the peak, where that is lower; returns the classifier's rate."""
    warmup = min(round(cfg.warmup_epochs * per_epoch), steps - 1)
    lr = lr_at(step, OptimConfig(lr=cfg.peak_lr, min_lr=min(cfg.min_lr, cfg.peak_lr), warmup_steps=warmup), steps)
    for group in optimizer.param_groups:
        group["lr"] = lr * group["scale"]
    return lr


def _level(name: str, depth: int) -> int:
    """0: the patch embedding; b: block b, counted from 1; the final norm is of the last block."""
    found = re.search(r"blocks\.(\d+)\.", name)
    return int(found[1]) + 1 if found else 0 if "patch_embed" in name else depth
