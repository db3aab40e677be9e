"""Keys and values of the tokens that a trunk has seen, so that each further token costs one row and no more."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nextpatch.model.config import ModelConfig
from nextpatch.model.names import HEADS


class BlockCache:
    """Keys and values of one block, "batch heads slots head_dim"; they are made once and filled from the front."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        self.keys, self.values = keys, values
        self.length = 0

    def put(
        self, keys: Float[Tensor, "batch heads new head_dim"], values: Float[Tensor, "batch heads new head_dim"]
    ) -> tuple[Float[Tensor, "batch heads seen head_dim"], Float[Tensor, "batch heads seen head_dim"]]:
        """Append those of new tokens; gives those of all tokens so far, as views."""
        end = self.length + keys.shape[2]
        assert end <= self.keys.shape[2], "more tokens than the cache has slots"
        self.keys[:, :, self.length : end] = keys
        self.values[:, :, self.length : end] = values
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]


class KeyValueCache:
    """One `BlockCache` for each block of a trunk, and in `of_head` for each of a head that attends to tokens before.

    A slot is a token in the order in which tokens came, which need not be the order of patches: a token carries its
    position. In a batch of different prefixes the tokens of each image start at slot 0, and `filled_mask` hides the
    slots between the end of a prefix and the end of the longest.
    """

    def __init__(
        self, cfg: ModelConfig, batch: int, slots: int, device: torch.device, dtype: torch.dtype = torch.float32
    ) -> None:
        def made(depth: int, heads: int, dim: int) -> list[BlockCache]:
            shape = (2, depth, batch, heads, slots, dim // heads)
            return [BlockCache(*both) for both in zip(*torch.empty(shape, dtype=dtype, device=device), strict=True)]

        self.blocks = made(cfg.shape.depth, cfg.shape.num_heads, cfg.shape.embed_dim)
        self.of_head = made(*HEADS[cfg.head].cached(cfg))

    @property
    def length(self) -> int:
        """Tokens of each image that are in it."""
        return self.blocks[0].length

    @staticmethod
    def num_bytes(cfg: ModelConfig, batch: int, slots: int, width: int = 4) -> int:
        """Bytes of it: keys and values, `width` bytes a number."""
        depth, _, dim = HEADS[cfg.head].cached(cfg)
        each = cfg.shape.depth * cfg.shape.embed_dim + int(depth * dim)
        return 2 * batch * slots * width * each


def filled_mask(prefix_len: Int[Tensor, " batch"], slots: int) -> Float[Tensor, "batch 1 1 slots"]:
    """Additive: 0 at the tokens of each image's prefix and at all behind the longest prefix, -inf between them.

    With as many slots as the longest prefix has tokens it is the mask of the prefixes, whose tokens see each other.
    """
    slot = torch.arange(slots, device=prefix_len.device)
    filled = (slot < prefix_len[:, None]) | (slot >= prefix_len.max())
    return torch.zeros(filled.shape, device=filled.device).masked_fill(~filled, float("-inf"))[:, None, None]
