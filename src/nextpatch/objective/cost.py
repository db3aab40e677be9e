"""What a training step of an objective costs: operations of an image, forward and backward."""

from __future__ import annotations

import math

from nextpatch.model.config import ModelConfig
from nextpatch.model.cost import Workload
from nextpatch.model.count import forward_flops
from nextpatch.model.heads.paper import heads_of
from nextpatch.model.low_res import LowRes
from nextpatch.model.names import HEADS, TARGETS
from nextpatch.model.patch_embed import PatchEmbed
from nextpatch.model.start import Start
from nextpatch.model.trunk import Trunk
from nextpatch.objective.objective import EmbedsLess
from nextpatch.objective.registry import objective_of
from nextpatch.objective.targets.target import MadeByProducts, StatesCost


def tokens_of(cfg: ModelConfig) -> int:
    """Tokens of an image that the trunk computes for the loss."""
    return objective_of(cfg).tokens


def expected_scored(cfg: ModelConfig) -> float:
    """Mean number of scored patches per image."""
    return objective_of(cfg).mean_scored


def work_of(cfg: ModelConfig, scored: float | None = None, longest: int | None = None) -> Workload:
    """What is computed of an image with `scored` scored patches (default: expected), of which another image of the
    micro-batch may have `longest` (default: as many as there can be).
    """
    n = tokens_of(cfg)
    rows = expected_scored(cfg) if scored is None else scored
    if cfg.attention == "bidirectional":
        return Workload(n, rows, longest or math.ceil(rows), mask=False)
    return Workload(n, rows, n if longest is None else longest)


def embedded_of(cfg: ModelConfig) -> int:
    """Tokens of an image that are made from patches."""
    objective = objective_of(cfg)
    return objective.embedded if isinstance(objective, EmbedsLess) else objective.tokens


def recomputed_flops(cfg: ModelConfig) -> float:
    """Operations of an image that backward does again if blocks are computed again: MLP blocks of a head are not."""
    head = HEADS[cfg.head]
    return forward_flops(cfg) + (0.0 if head.packed else head.flops(cfg, work_of(cfg)))


def loss_row_bytes(cfg: ModelConfig, number: int) -> float:
    """What the loss keeps for backward of a scored patch; `number` as in `kept_bytes`."""
    target = TARGETS[cfg.target]
    return float(target.row_bytes(cfg, number) if isinstance(target, StatesCost) else 4 * cfg.outputs)


def loss_fixed_bytes(cfg: ModelConfig, rows: float, number: int) -> float:
    """What the loss of `rows` scored patches keeps or lets pass by beside that."""
    target = TARGETS[cfg.target]
    return float(target.fixed_bytes(cfg, rows, number) if isinstance(target, StatesCost) else 0)


def target_flops(cfg: ModelConfig, scored: float | None = None) -> float:
    """Operations, in float32, that make an image's targets: of codes the tokenizer's; 0 for pixels.

    They are apart from those of `train_step_flops`. TokenizerError where the tokenizer is not at hand.
    """
    target = TARGETS[cfg.target](cfg)
    rows = expected_scored(cfg) if scored is None else scored
    return float(target.wanted_flops(rows) if isinstance(target, MadeByProducts) else 0)


def train_step_flops(cfg: ModelConfig, scored: float | None = None, frozen_trunk: bool = False) -> float:
    """Operations of forward and backward for one image with `scored` scored patches (default: expected).

    Counts what the packed loss needs and no more: in the last block keys and values everywhere but queries, projection
    and MLP at scored positions, and the head there only; of a head that cannot be packed it is the head's last block;
    no gradient for the pixels.
    """
    work, head = work_of(cfg, scored), HEADS[cfg.head]
    embed = PatchEmbed.flops(cfg, embedded_of(cfg)) + Start.flops(cfg, work.tokens)
    told = LowRes.flops(cfg, cfg.num_patches) + LowRes.flops(cfg, work.rows)
    above = sum(3 * kind.flops(cfg, work) - kind.data_flops(cfg, work) for kind in heads_of(cfg))
    trunk = Trunk.rows_flops(cfg, work.tokens, work.rows if head.packed else work.tokens)
    if frozen_trunk and cfg.start_token:  # which learns, at the bottom: gradients go through all blocks
        passed = Trunk.frozen_flops(cfg, work.tokens, work.rows if head.packed else work.tokens)
        return float(trunk + passed + embed + Start.flops(cfg, work.tokens) + above + 2 * told)
    if frozen_trunk:  # no backward through it, and none into the head's input
        return float(trunk + embed + above - head.input_flops(cfg, work))
    return float(3 * trunk + above + 2 * (embed + told))
