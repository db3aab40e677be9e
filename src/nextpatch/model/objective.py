"""What is predicted from what: prefix lengths, scored positions, targets."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from nextpatch.core.errors import UserError
from nextpatch.model.config import Target
from nextpatch.patches import normalize_patches

_PREFIX_STREAM = 0x5052  # keeps prefix draws apart from every other use of the same seed


def draw_prefix(seed: int, positions: Int[Tensor, " batch"], num_patches: int) -> Int[Tensor, " batch"]:
    """Prefix lengths S, uniform on 1 .. K-1: a pure function of (seed, position of the sample in the run).

    The same position gives the same S in any batch, worker, process or resumed run. Source: section 4.2.
    """
    draws = [_draw(seed, int(position), num_patches) for position in positions.tolist()]
    return torch.tensor(draws, dtype=torch.int64)


def _draw(seed: int, position: int, num_patches: int) -> int:
    bits = np.random.Philox(key=[seed, _PREFIX_STREAM], counter=[position, 0, 0, 0])
    return int(np.random.Generator(bits).integers(1, num_patches))


def scored_mask(prefix_len: Int[Tensor, " batch"], num_patches: int) -> Bool[Tensor, "batch outputs"]:
    """True at output i (0 .. K-2) when its prediction, patch i+1, is scored: i >= S-1, so never in the prefix."""
    if bool((prefix_len < 1).any()) or bool((prefix_len >= num_patches).any()):
        raise UserError(f"prefix lengths must be in 1 .. {num_patches - 1}, got {prefix_len.tolist()}")
    outputs = torch.arange(num_patches - 1, device=prefix_len.device)
    return outputs >= prefix_len[:, None] - 1


def scored_count(prefix_len: Int[Tensor, " batch"], num_patches: int) -> int:
    """Scored patches in the batch, K - S each: the loss's denominator when summed over the global batch."""
    return int((num_patches - prefix_len).sum())


def targets(patches: Float[Tensor, "*rows values"], target: Target) -> Float[Tensor, "*rows values"]:
    """What the head must output for these patches (Table 3a): normalized pixels, or the pixels themselves."""
    if target == "pixels":
        return patches
    return normalize_patches(patches.reshape(1, -1, patches.shape[-1])).reshape(patches.shape)
