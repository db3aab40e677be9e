"""How much memory training takes, by formula: weights, gradients, optimizer, activations and temporary buffers.

Written for n tokens an image, of which m are scored: of the paper's objective K - 1 and, on average, K/2. What autograd
keeps of each part stands beside its code (`kept_bytes`, in bytes of one image); here it is added up, with the loss's
errors, 4 bytes a scored value (of codes: objective/targets/cross_entropy.py), and the mask. The residual stream, norms
and the loss are float32.

With activation checkpointing a block keeps its input, and "selective" also the outputs of its products and attention;
what it computes again in backward is there for one block at a time. With several micro-batches to a step, the gradients
of those before are there from the start.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from nextpatch.model.config import ModelConfig
from nextpatch.model.cost import Kernel, Recompute, Workload
from nextpatch.model.count import count_params
from nextpatch.model.heads.paper import heads_of
from nextpatch.model.layers import Block
from nextpatch.model.low_res import LowRes
from nextpatch.model.mask_token import MaskToken
from nextpatch.model.names import HEADS
from nextpatch.model.patch_embed import PatchEmbed
from nextpatch.model.start import Start
from nextpatch.model.trunk import Trunk
from nextpatch.objective.cost import embedded_of, loss_fixed_bytes, loss_row_bytes, work_of

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
    averages: int = 0

    @property
    def total(self) -> int:
        """All of it."""
        beside = self.weights + self.optimizer + self.averages
        return beside + self.gradients + self.activations + self.passing


@dataclass(frozen=True)
class Setting:
    """What decides on memory beside the model: bytes of a number in products, how a rank keeps and computes things.

    `shard` ranks hold one copy of the model; `spread`: under the engine, which gathers weights block by block, rather
    than in one plain process, where autocast keeps a copy of them in bfloat16. `several`: micro-batches to a step;
    `averages`: of the weights, kept beside them.
    """

    width: int = 2
    shard: int = 1
    spread: bool = True
    recompute: Recompute = "none"
    kernel: Kernel = "fused"
    several: bool = False
    averages: bool = False


def step_memory(
    cfg: ModelConfig, setting: Setting, images: int, scored: float | None = None, longest: int | None = None
) -> Memory:
    """Memory of a rank at the worst moment of a step with `images` at a time (`scored`, `longest`: as in `kept_bytes`).

    The worst moment is found by going through backward block by block: what is kept goes down, gradients come up, and
    each block has its weights, its gradient and what it computes again.
    """
    params, shard = count_params(cfg).total, setting.shard
    tables = 4 * (cfg.num_patches * cfg.shape.embed_dim + sum(kind.table_values(cfg) for kind in heads_of(cfg)))
    pixels = images * 4 * cfg.num_patches * cfg.patch_dim
    kept = images * kept_bytes(cfg, setting.width, setting.recompute, setting.kernel, scored, longest) + pixels
    copies = 2 * params if not setting.spread and setting.width == 2 else 0
    before = 4 * params / shard if setting.several else 0.0
    loss = loss_fixed_bytes(cfg, images * work_of(cfg, scored).rows, setting.width)
    moments = [Moment(before, kept + copies, loss), Moment(4 * params / shard, 0.0, 0.0)]
    moments += _moments(cfg, setting, images, scored, longest, kept + copies)
    worst = max(moments, key=sum)
    averages = 4 * params // shard if setting.averages else 0
    gradients, kept_then, passing = map(round, worst)
    return Memory(4 * params // shard + tables, 8 * params // shard, gradients, kept_then, passing, averages)


def _moments(
    cfg: ModelConfig, setting: Setting, images: int, scored: float | None, longest: int | None, kept: float
) -> Iterator[Moment]:
    """The two worst moments of every block's backward, the head's first: in the middle of it, and right behind it."""
    work, c = _work(cfg, setting.width, setting.recompute, setting.kernel, scored, longest), setting.width
    block = Block.unit(cfg.shape.embed_dim, cfg.shape.num_heads, work)
    blocks = [unit for kind in heads_of(cfg) for unit in kind.units(cfg, work)] + [block] * cfg.shape.depth
    gradients = 4 * count_params(cfg).total / setting.shard if setting.several else 0.0
    flying = 0.0  # the gradient of the block before, in float32, on its way to the other ranks
    for number, unit in enumerate(blocks):
        params = unit.params
        recomputed = images * (unit.again + unit.stream * (_COMPUTING_AGAIN * c - 4)) if unit.again else 0.0
        transient = images * (_TRANSIENT * c * unit.stream + 8 * unit.scores)
        gathered = min(2, len(blocks) - number) * c * params if setting.spread else 0
        yield Moment(gradients, kept, recomputed + transient + gathered + flying)
        kept -= images * unit.kept
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
    work, head = _work(cfg, width, recompute, kernel, scored, longest), HEADS[cfg.head]
    trunk = Trunk.kept_bytes(cfg, work, head.packed)
    above = sum(kind.kept_bytes(cfg, work) + sum(unit.kept for unit in kind.units(cfg, work)) for kind in heads_of(cfg))
    errors = work.rows * loss_row_bytes(cfg, width)
    mask = 4 * work.tokens**2 if work.mask and (width == 4 or recompute != "none") else 0
    embedded = embedded_of(cfg)
    below = PatchEmbed.kept_bytes(cfg, embedded, width) + MaskToken.kept_bytes(cfg, embedded)
    below += Start.kept_bytes(cfg, work.tokens, width)
    below += LowRes.kept_bytes(cfg, cfg.num_patches, width) + LowRes.kept_bytes(cfg, work.rows, width)
    return float(trunk + above + errors + below + mask)


def _work(
    cfg: ModelConfig, width: int, recompute: Recompute, kernel: Kernel, scored: float | None, longest: int | None
) -> Workload:
    return work_of(cfg, scored, longest)._replace(width=width, recompute=recompute, kernel=kernel)


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
