"""Which variant a model is, in one line: what the recipe's choices of section 5.2 come to (no torch here)."""

from __future__ import annotations

from nextpatch.model.config import ModelConfig


def variant_of(cfg: ModelConfig) -> str:
    """Objective, attention in pre-training, order, target and head: "masked (8 of 16 patches), bidirectional ..."."""
    objective = cfg.objective
    if objective == "masked":
        objective = f"masked ({cfg.num_masked} of {cfg.num_patches} patches)"
    parts = [objective, f"{cfg.attention} attention"]
    if cfg.objective != "masked":  # which has no order
        parts.append(f"{cfg.order} order" + (f" of seed {cfg.order_seed}" if cfg.order_seed else ""))
    target = f"target tokens ({cfg.codes:,} codes)" if cfg.target == "tokens" and cfg.codes else f"target {cfg.target}"
    beside = f" beside the paper's, whose loss has weight {cfg.paper_loss:g}" if cfg.paper_loss else ""
    enlarging = [f"enlarging by {cfg.upscale}"] if cfg.upscale else []
    return ", ".join([*parts, target, f"head {cfg.head}{beside}", *enlarging])
