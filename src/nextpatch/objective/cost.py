"""What a training step of an objective costs: operations of an image, forward and backward."""

from __future__ import annotations

from nextpatch.model.aim import Trunk
from nextpatch.model.config import ModelConfig
from nextpatch.model.names import HEADS, TARGETS
from nextpatch.model.patch_embed import PatchEmbed
from nextpatch.objective.registry import objective_of
from nextpatch.objective.targets.target import StatesCost


def tokens_of(cfg: ModelConfig) -> int:
    """Tokens of an image that the trunk computes for the loss."""
    return objective_of(cfg).tokens


def expected_scored(cfg: ModelConfig) -> float:
    """Mean number of scored patches per image."""
    return objective_of(cfg).mean_scored


def head_rows(cfg: ModelConfig, scored: float | None = None) -> float:
    """Rows of an image that the head is given: those scored (default: expected), or all, where it needs sequences."""
    if not HEADS[cfg.head].packed:
        return tokens_of(cfg)
    return expected_scored(cfg) if scored is None else scored


def loss_row_bytes(cfg: ModelConfig, number: int) -> float:
    """What the loss keeps for backward of a scored patch; `number` as in `kept_bytes`."""
    target = TARGETS[cfg.target]
    return float(target.row_bytes(cfg, number) if isinstance(target, StatesCost) else 4 * cfg.outputs)


def loss_fixed_bytes(cfg: ModelConfig, rows: float, number: int) -> float:
    """What the loss of `rows` scored patches keeps or lets pass by beside that."""
    target = TARGETS[cfg.target]
    return float(target.fixed_bytes(cfg, rows, number) if isinstance(target, StatesCost) else 0)


def train_step_flops(cfg: ModelConfig, scored: float | None = None, frozen_trunk: bool = False) -> float:
    """Operations of forward and backward for one image with `scored` scored patches (default: expected).

    Counts what the packed loss needs and no more: in the last block keys and values everywhere but queries, projection
    and MLP at scored positions; the head there only, where it can be packed; no gradient for the pixels.
    """
    tokens, rows, head = tokens_of(cfg), head_rows(cfg, scored), HEADS[cfg.head]
    embed, trunk, above = PatchEmbed.flops(cfg, tokens), Trunk.rows_flops(cfg, tokens, rows), head.flops(cfg, rows)
    if frozen_trunk:  # no backward through it, and none into the head's input
        return float(trunk + embed + 3 * above - head.input_flops(cfg, rows))
    return float(3 * (trunk + above) + 2 * embed)
