"""The network of a head that learns a patch from noise, as a sample goes through it: at known times, one after another.

What a step is told depends on condition and time alone, not on the patch: it is made before the steps, for as many of
them at once as are `_ROWS` rows, and not by small products in every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from nextpatch.model.heads.denoising import DenoisingHead, ToldBlock

_ROWS = 256  # of steps times patches, told at once: their memory is small beside that of weights


class Led:
    """What the network gives for these conditions at each of `times`, led away from what it gives without a class.

    Asked for times in their order; equal to `DenoisingHead.denoised` up to rounding.
    """

    def __init__(
        self, head: DenoisingHead, condition: Float[Tensor, "rows width"], unguided: Tensor | None, guidance: float,
        times: Sequence[float],
    ) -> None:  # fmt: skip
        self._head, self._guidance = head, guidance
        self._blocks = cast("list[ToldBlock]", list(head.blocks))
        both = [condition] if unguided is None or guidance == 1.0 else [condition, unguided]
        self._copies, self._condition = len(both), torch.cat(both)
        self._times = torch.tensor(times, device=condition.device, dtype=condition.dtype)
        self._at_once, self._piece, self._told = max(1, _ROWS // len(self._condition)), -1, list[Tensor]()

    def __call__(self, noisy: Float[Tensor, "rows values"], number: int) -> Float[Tensor, "rows values"]:
        """At the time of this number."""
        head, told = self._head, self._at(number)
        x = head.noisy(noisy).to(self._condition.dtype)
        x = x if self._copies == 1 else x.repeat(self._copies, 1)
        for block, own in zip(self._blocks, told[:-1], strict=True):
            x = block.changed(x, own)
        found, *without = head.ended(x, told[-1]).chunk(self._copies)
        return without[0] + self._guidance * (found - without[0]) if without else found

    def _at(self, number: int) -> list[Tensor]:
        """What every block, and the end, is told at a time."""
        piece, place = divmod(number, self._at_once)
        if piece != self._piece:
            times = self._times[piece * self._at_once : (piece + 1) * self._at_once]
            told = F.silu(self._condition + self._head.timed(times)[:, None])
            self._told = [layer(told) for layer in (*(block.told for block in self._blocks), self._head.told)]
            self._piece = piece
        return [each[place] for each in self._told]
