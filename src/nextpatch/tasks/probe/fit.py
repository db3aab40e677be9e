"""How a grid of probes learns: AdamW, clipping and schedule, each probe as if it were alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from nextpatch.dist.ranks import ALONE, Ranks
from nextpatch.runs.config import OptimConfig
from nextpatch.tasks.probe.config import ProbeConfig
from nextpatch.tasks.probe.grid import Grid, grid_loss
from nextpatch.train.schedule import lr_at

_BETAS = (0.9, 0.999)


class Fit:
    """The optimizer of a grid over `steps` steps on `labels` labels. Source: Table 11; biases do not decay (ours).

    torch's AdamW has one learning rate per group of tensors: each gets views of the grid's parameters and gradients.
    """

    def __init__(self, grid: Grid, cfg: ProbeConfig, steps: int, labels: int, ranks: Ranks = ALONE) -> None:
        self.grid, self.steps, self._step, self._clip_norm, self._world = grid, steps, 0, cfg.clip_norm, ranks
        warmup = min(round(cfg.warmup * steps), steps - 1)
        self._optims = [OptimConfig(lr=lr, min_lr=cfg.min_lr, warmup_steps=warmup) for lr in grid.lrs]
        names = sorted(grid.probes)
        self._views = {name: [nn.Parameter(grid.probes[name].data[g]) for g in range(len(grid.lrs))] for name in names}
        self._gradients = {name: torch.zeros_like(grid.probes[name].data) for name in names}
        for name, views in self._views.items():
            for view, gradient in zip(views, self._gradients[name], strict=True):
                view.grad = gradient
        decays = [[views[g] for name, views in self._views.items() if name != "bias"] for g in range(len(grid.lrs))]
        groups: list[dict[str, Any]] = []
        for decaying, bias in zip(decays, self._views["bias"], strict=True):
            groups += [{"params": decaying}, {"params": [bias], "weight_decay": 0.0}]
        self._optimizer = torch.optim.AdamW(groups, betas=_BETAS, weight_decay=cfg.decay(labels), fused=True)

    def step(
        self, features: Sequence[Tensor] | Float[Tensor, "sets batch patches dim"], labels: Int[Tensor, " batch"]
    ) -> None:
        """One update of every probe, from the features of each layer set; with several ranks, from those of all.

        Set by set, so that what the gradients need is in memory for one set at a time.
        """
        for s, one in enumerate(features):
            self._differentiate(s, one, labels)
        gradients = list(self._gradients.values())
        if self._world.size > 1:
            for gradient in gradients:
                gradient.copy_(self._world.all_mean(gradient))
        clip_each(gradients, self._clip_norm)
        for g, optim in enumerate(self._optims):
            for group in self._optimizer.param_groups[2 * g : 2 * g + 2]:
                group["lr"] = lr_at(self._step, optim, self.steps)
        self._optimizer.step()
        self._step += 1

    def _differentiate(self, s: int, features: Float[Tensor, "batch patches dim"], labels: Tensor) -> None:
        own = {name: value.detach().requires_grad_() for name, value in self.grid.parameters_of(s).items()}
        loss = grid_loss(self.grid.of_set(s, features, own, self._world), labels)
        found = torch.autograd.grad(loss.mean(dim=1).sum(), list(own.values()))
        for name, gradient in zip(own, found, strict=True):
            self._gradients[name][:, s] = gradient


@torch.no_grad()
def clip_each(gradients: list[Tensor], clip_norm: float) -> None:
    """Clip the gradients of every probe by its own global norm; the first two axes count probes."""
    norms = torch.stack([torch.linalg.vector_norm(grad.flatten(2), dim=2) for grad in gradients])
    total = torch.linalg.vector_norm(norms, dim=0)
    scale = (clip_norm / (total + 1e-6)).clamp(max=1.0)  # as torch's clip_grad_norm_
    for grad in gradients:
        grad *= scale.view(*scale.shape, *[1] * (grad.ndim - 2))
