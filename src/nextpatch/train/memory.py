"""How much memory training takes, by formula: weights and their companions, what backward keeps, what passes by.

Written for images of K patches with n = K - 1 tokens, of which m are scored (K/2 on average); d = trunk width, a =
heads, w = head width, D = values in a patch; c = bytes of a number in matrix products (2 for bfloat16, else 4). The
residual stream, norms and the loss are float32, 4 bytes. What autograd keeps, in bytes:

- a block, per token: the two norms' inputs 8 d and statistics 16; the inputs and outputs that products and GELU keep:
  qkv's input and output 4 c d, proj's input c d, fc1's input c d, fc1's and GELU's output 8 c d: 8 d + 14 c d + 16
- its attention: fused kernels keep 4 a per token (and in bfloat16 a copy of the mask, c n a token); written out for
  bfloat16 on a CPU, the scaled queries c d and the probabilities in both formats 6 a n
- the last block, which runs packed: on all tokens the norm's input and output and keys and values, 4 d + 3 c d + 8; for
  the longest suffix of the batch, W tokens an image, queries and attention's output; per scored row the rest of a block
- the head, per scored row: 4 w + 9 c w + 8 a block, with its first input, its last norm and 4 D for the errors
- the patches, per token: c D, and the norm's input 4 d + 8

With activation checkpointing a block keeps its input, 4 d a token, and "selective" also the outputs of its products and
attention, 10 c d; what it computes again in backward is there for one block at a time. With several micro-batches to a
step, the gradients of those before are there from the start.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from nextpatch.dist.config import Recompute
from nextpatch.model.config import ModelConfig
from nextpatch.model.count import count_params, expected_scored

Kernel = Literal["fused", "written out"]
_TRANSIENT = 9.0  # numbers a token and width that a block's backward makes and drops, measured
_COMPUTING_AGAIN = 11.5  # and more of them when it has to compute forward again


class Moment(NamedTuple):
    """Bytes beside weights and optimizer: gradients so far, what is kept for backward, and what just passes by.

    The last are gathered weights, gradients on their way to other ranks, and what backward computes again or drops.
    """

    gradients: float
    kept: float
    passing: float


@dataclass(frozen=True)
class Memory:
    """Bytes on one rank at the worst moment of a step, by part."""

    weights: int
    optimizer: int
    gradients: int
    activations: int
    passing: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.optimizer + self.gradients + self.activations + self.passing


@dataclass(frozen=True)
class Setting:
    """What decides on memory beside the model: bytes of a number in products, how a rank keeps and computes things.

    `shard` ranks hold one copy of the model; `spread`: under the engine, which gathers weights block by block, rather
    than in one plain process, where autocast keeps a copy of them in bfloat16. `several`: micro-batches to a step.
    """

    width: int = 2
    shard: int = 1
    spread: bool = True
    recompute: Recompute = "none"
    kernel: Kernel = "fused"
    several: bool = False


def step_memory(
    cfg: ModelConfig, setting: Setting, images: int, scored: float | None = None, longest: int | None = None
) -> Memory:
    """Memory of a rank at the worst moment of a step with `images` at a time (`scored`, `longest`: as in `kept_bytes`).

    The worst moment is found by going through backward block by block: what is kept goes down, gradients come up, and
    each block has its weights, its gradient and what it computes again.
    """
    params, shard = count_params(cfg).total, setting.shard
    tables = 4 * cfg.num_patches * (cfg.shape.embed_dim + cfg.shape.head_width)
    pixels = images * 4 * cfg.num_patches * cfg.patch_dim
    kept = images * kept_bytes(cfg, setting.width, setting.recompute, setting.kernel, scored, longest) + pixels
    copies = 2 * params if not setting.spread and setting.width == 2 else 0
    before = 4 * params / shard if setting.several else 0.0
    moments = [Moment(before, kept + copies, 0.0), Moment(4 * params / shard, 0.0, 0.0)]
    moments += _moments(cfg, setting, images, scored, longest, kept + copies)
    worst = max(moments, key=sum)
    return Memory(4 * params // shard + tables, 8 * params // shard, *map(round, worst))


def _moments(
    cfg: ModelConfig, setting: Setting, images: int, scored: float | None, longest: int | None, kept: float
) -> Iterator[Moment]:
    """The two worst moments of every block's backward, the head's first: in the middle of it, and right behind it."""
    s, n, c = cfg.shape, cfg.num_patches - 1, setting.width
    m = expected_scored(cfg) if scored is None else scored
    d, w = s.embed_dim, s.head_width
    whole = images * _block(d, s.num_heads, n, n, c, setting.kernel)
    per_block = {
        "none": whole, "full": images * n * 4 * d,
        "selective": images * n * (4 * d + 10 * c * d + 4 * s.num_heads),
    }[setting.recompute]  # fmt: skip
    again = whole + images * n * (_COMPUTING_AGAIN * c - 4) * d if setting.recompute != "none" else 0.0
    head_block = images * m * ((4 + 9 * c) * w + 8)
    extra = images * 4 * s.num_heads * n * n * 2 if setting.kernel == "written out" else 0
    blocks = [(8 * w * w, head_block, 0.0, images * m * _TRANSIENT * c * w)] * s.head_depth
    blocks += [(12 * d * d, per_block, again, images * n * _TRANSIENT * c * d + extra)] * s.depth
    gradients = 4 * count_params(cfg).total / setting.shard if setting.several else 0.0
    flying = 0.0  # the gradient of the block before, in float32, on its way to the other ranks
    for number, (params, own, recomputed, transient) in enumerate(blocks):
        gathered = min(2, len(blocks) - number) * c * params if setting.spread else 0
        yield Moment(gradients, kept, recomputed + transient + gathered + flying)
        kept -= own
        if not setting.spread and c == 2:
            kept -= 2 * params
        yield Moment(gradients, kept, gathered + ((c + 4) * params if setting.spread else 4 * params))
        gradients += 0.0 if setting.several else 4 * params / setting.shard
        flying = 4 * params if setting.spread else 0


def kept_bytes(
    cfg: ModelConfig, width: int, recompute: Recompute = "none", kernel: Kernel = "fused", scored: float | None = None,
    longest: int | None = None,
) -> float:  # fmt: skip
    """Bytes that autograd keeps of one image between forward and backward.

    `width` is the bytes of a number in products (2 or 4), `scored` the image's scored patches (default: expected) and
    `longest` the most of any image in the micro-batch (default: all but the first patch).
    """
    s, n = cfg.shape, cfg.num_patches - 1
    m = expected_scored(cfg) if scored is None else scored
    suffix = n if longest is None else longest
    d, values, c = s.embed_dim, cfg.patch_dim, width
    block = {
        "none": _block(d, s.num_heads, n, n, c, kernel),
        "selective": n * (4 * d + 10 * c * d + 4 * s.num_heads),
        "full": n * 4 * d,
    }[recompute]
    if recompute == "none":
        last = (
            n * (4 * d + 3 * c * d + 8)
            + m * (4 * d + 11 * c * d + 8)
            + _attention(d, s.num_heads, suffix, n, c, kernel)
        )
        last += suffix * 2 * c * d
    else:
        last = n * 4 * d
    head = m * (s.head_depth * (4 + 9 * c) * s.head_width + 8 * s.head_depth)
    ends = m * (4 * d + 8 + c * d) + m * ((4 + c) * s.head_width + 8) + m * 4 * values + n * (c * values + 4 * d + 8)
    mask = 4 * n * n if c == 4 else 0
    return (s.depth - 1) * block + last + head + ends + mask


def _block(d: int, heads: int, queries: int, keys: int, c: int, kernel: Kernel) -> float:
    return queries * (8 * d + 14 * c * d + 16) + _attention(d, heads, queries, keys, c, kernel)


def _attention(d: int, heads: int, queries: int, keys: int, c: int, kernel: Kernel) -> float:
    """Beyond qkv's output and proj's input."""
    if kernel == "written out":
        return queries * (c * d + (6 if c == 2 else 4) * heads * keys)
    return queries * (4 * heads + (c * keys if c == 2 else 0))


def largest_micro_batch(
    cfg: ModelConfig, setting: Setting, available_bytes: float, most: int = 4096, share: int | None = None
) -> int:
    """The largest power of two of images, up to `most`, that fits into `available_bytes`; 0 when none does.

    `share` is how many images a step has for this rank (default: more than `most`): fewer at a time make `several`.
    """
    sizes = [1 << n for n in range(most.bit_length())]
    for images in reversed(sizes):
        here = replace(setting, several=share is None or images < share)
        if step_memory(cfg, here, images).total <= available_bytes:
            return images
    return 0
