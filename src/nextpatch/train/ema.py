"""Averaged weights: the exponential moving average of what a run learns, which its users sample, probe and embed with.

The decay is a function of images, not of steps, so that it does not depend on the batch: half of an average's weight
is on the images seen last, within `half_life`. In the first part of a run the half-life is a twentieth of the images
seen so far instead: the random start is forgotten at the first update, and a short run's average is as near to its end
as a long one's. Debiasing as in Adam would do the first, not the second: while n is small against the half-life it is
the plain mean of all n weights, those after ten steps among them.

Source: Karras et al. 2022 (EDM, arXiv 2206.00364), training_loop.py: ema_halflife_kimg and ema_rampup_ratio 0.05.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from nextpatch.dist.parallelize import fsdp_modules

_RAMP = 0.05  # of the images seen so far: the longest half-life


def decay_of(half_life: float, batch_size: int, images: int) -> float:
    """How much of an average stays at an update by `batch_size` images, after `images` before them; 0 at the first."""
    longest = min(half_life, _RAMP * images)
    return 0.5 ** (batch_size / longest) if longest else 0.0


class AveragedWeights:
    """The average of every parameter that learns, spread over ranks as it is, in its own format (float32).

    Nothing is drawn by chance and nothing is counted: a checkpoint needs the averages alone. Weights that do not learn
    are their own average and are not kept twice.
    """

    def __init__(self, model: nn.Module, half_life: float, batch_size: int) -> None:
        self._model, self._half_life, self._batch_size = model, half_life, batch_size
        self._learned = {name: param.detach() for name, param in model.named_parameters() if param.requires_grad}
        self._averages = {name: param.clone() for name, param in self._learned.items()}

    def tensors(self) -> dict[str, Tensor]:
        """The averages by the names of their parameters, to be saved and to be filled again."""
        return self._averages

    @torch.no_grad()
    def update(self, images: int) -> None:
        """Move towards the weights as they are now; `images` were seen before the batch that they were updated by."""
        share = 1.0 - decay_of(self._half_life, self._batch_size, images)
        torch._foreach_lerp_(_parts(self._averages), _parts(self._learned), share)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model has the averages, and we its weights, until the end of this; no more memory than the largest."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for module in fsdp_modules(self._model):
            module.reshard()  # weights that were gathered are of before
        for ours, theirs in zip(_parts(self._averages), _parts(self._learned), strict=True):
            kept = theirs.clone()
            theirs.copy_(ours)
            ours.copy_(kept)


def _parts(tensors: dict[str, Tensor]) -> list[Tensor]:
    """This rank's part of each."""
    return [tensor.to_local() if isinstance(tensor, DTensor) else tensor for tensor in tensors.values()]
