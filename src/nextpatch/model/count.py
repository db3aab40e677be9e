"""How many parameters a model has and how many floating-point operations it costs, by formula.

A multiply-add counts as two operations and only matrix products count, as in `torch.utils.flop_counter`. With d = trunk
width, L = blocks, h = head width, D = values in a patch, N = tokens in the sequence, and q rows that query n keys:

- one linear layer of a x b weights on r rows: 2 r a b forward, the same again for its weights' gradient and once more
  for its input's;
- attention of q queries over n keys: 2 q n d for the scores and 2 q n d for the sum; backward twice that (masked
  products are computed and count);
- one block: 12 d^2 weights (qkv 3, proj 1, fc1 4, fc2 4); one head block: 8 h^2.

Parameters and shapes: Table 1 of the paper, section 4.2.
"""

from __future__ import annotations

from typing import NamedTuple

from nextpatch.model.config import ModelConfig


class Params(NamedTuple):
    """Learned values by part; the position tables are computed and do not count."""

    patch_embed: int
    trunk: int
    head: int

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self)


def count_params(cfg: ModelConfig) -> Params:
    """Parameters of the model: Table 1 gives `trunk` for the paper's sizes."""
    s = cfg.shape
    d, h = s.embed_dim, s.head_width
    return Params(
        patch_embed=cfg.patch_dim * d + d + 2 * d,
        trunk=s.depth * (12 * d * d + 4 * d) + 2 * d,
        head=d * h + h + s.head_depth * (8 * h * h + 2 * h) + 2 * h + h * cfg.patch_dim + cfg.patch_dim,
    )


def forward_flops(cfg: ModelConfig, blocks: int | None = None) -> int:
    """Operations of the features of one image from the first `blocks` blocks (default all): no head."""
    d, n = cfg.shape.embed_dim, cfg.num_patches
    depth = cfg.shape.depth if blocks is None else blocks
    return 2 * n * cfg.patch_dim * d + depth * (2 * n * 12 * d * d + 4 * n * n * d)


def expected_scored(cfg: ModelConfig) -> float:
    """Mean number of scored patches per image: K - S with S uniform on 1 .. K-1 is K/2; all K-1 when causal."""
    return cfg.num_patches / 2 if cfg.attention == "prefix" else cfg.num_patches - 1


def train_step_flops(cfg: ModelConfig, scored: float | None = None, frozen_trunk: bool = False) -> float:
    """Operations of forward and backward for one image with `scored` scored patches (default: expected).

    Counts what the packed loss needs and no more: K-1 tokens; in the last block keys and values everywhere but queries,
    projection and MLP at scored positions; the head there only; no gradient for the pixels.
    """
    s = cfg.shape
    d, h, n = s.embed_dim, s.head_width, cfg.num_patches - 1
    m = expected_scored(cfg) if scored is None else scored
    full_block = 2 * n * 12 * d * d + 4 * n * n * d
    last_block = 2 * (n * 2 + m * 10) * d * d + 4 * m * n * d
    head = 2 * m * (d * h + s.head_depth * 8 * h * h + h * cfg.patch_dim)
    embed = 2 * n * cfg.patch_dim * d
    trunk = (s.depth - 1) * full_block + last_block
    if frozen_trunk:  # no backward through it, and none into the head's input
        return trunk + embed + 3 * head - 2 * m * d * h
    return 3 * (trunk + head) + 2 * embed


def probe_flops(cfg: ModelConfig, classes: int, batch: int) -> float:
    """Operations of forward and backward of one attentive probe of the grid, per image, in steps of `batch` images.

    With h heads: scores and weighted sums are 2 n d h each, and as much again for their gradients; W^v and the linear
    layer act on one vector, 2 d^2 and 2 d c, three times with backward; folding the query into the keys, 6 d^2, is
    shared by the batch. Where the linear layer is folded into the values (few classes), it is at most this.
    """
    d, n, h = cfg.shape.embed_dim, cfg.num_patches, cfg.shape.num_heads
    return 8 * n * d * h + 6 * d * d + 6 * d * classes + 6 * d * d / batch


def plain_probe_flops(cfg: ModelConfig, classes: int) -> float:
    """The same with a key and a value for every patch, as equation 4 is written: 2 n d^2 each, twice with backward."""
    d, n = cfg.shape.embed_dim, cfg.num_patches
    return 8 * n * d * d + 12 * n * d + 6 * d * classes
