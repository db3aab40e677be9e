"""Which values of a model go together, in words, and which follow from others (no torch here: `--help` reads this)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from nextpatch.core.errors import ConfigError
from nextpatch.model.names import DISTRIBUTIONS, DRAWN_ORDERS, SEEDLESS_ORDERS

if TYPE_CHECKING:
    from nextpatch.model.config import Attention, ModelConfig

_SAMPLED_IN_STEPS = ("flow", "diffusion")


def settle_generation(cfg: ModelConfig) -> dict[str, Any]:
    """The values that follow from a head that is a distribution; ConfigError for what contradicts it or `generate`."""
    if cfg.head in DISTRIBUTIONS:
        if cfg.objective == "masked":
            raise ConfigError(
                f"the head {cfg.head} is a distribution over the next patch, and the objective is masked; leave the "
                "objective out, or choose another head"
            )
        if cfg.target not in ("norm_pixels", "distribution"):
            raise ConfigError(
                f"the head {cfg.head} is a distribution over the pixels of a patch, so that the target {cfg.target} "
                "changes nothing; leave model.target out, or choose the head mlp"
            )
    elif cfg.target == "distribution":
        raise ConfigError(
            f"the target distribution is for heads that are one ({', '.join(DISTRIBUTIONS)}), and the head is "
            f"{cfg.head}; leave model.target out"
        )
    settled = {"objective": "generate", "target": "distribution"} if cfg.head in DISTRIBUTIONS else {}
    _check_generation(cfg, settled.get("objective", cfg.objective))
    return settled


def _check_generation(cfg: ModelConfig, objective: str) -> None:
    if objective == "generate" and cfg.head not in DISTRIBUTIONS and cfg.target == "norm_pixels":
        raise ConfigError(
            "the objective generate cannot learn from norm_pixels, which leave out each patch's mean and variance; "
            f"give model.head {' or '.join(DISTRIBUTIONS)}, or model.target tokens, whose codes are sampled, or "
            "pixels, which fade to grey when they are fed back and serve for comparison"
        )
    if objective != "generate":
        for name, other in (("classes", cfg.classes > 0), ("order", cfg.order in DRAWN_ORDERS)):
            if other:
                raise ConfigError(
                    f"model.{name} {getattr(cfg, name)} is for the objective generate, and it is {objective}; leave it "
                    f"out, or give model.objective generate, or model.head {' or '.join(DISTRIBUTIONS)}"
                )
    if cfg.label_dropout != 0.1 and not cfg.classes:
        raise ConfigError(
            f"label_dropout {cfg.label_dropout:g} changes nothing without classes; leave it out, or give model.classes"
        )
    if cfg.paper_loss and cfg.head not in DISTRIBUTIONS:
        raise ConfigError(
            f"paper_loss {cfg.paper_loss:g} is a loss beside that of a head that is a distribution, and the head is "
            f"{cfg.head}; leave it out, or choose {' or '.join(DISTRIBUTIONS)}"
        )
    if cfg.draws != 4 and cfg.head not in _SAMPLED_IN_STEPS:
        raise ConfigError(
            f"draws {cfg.draws} changes nothing with the head {cfg.head}; leave it out, or choose "
            f"{' or '.join(_SAMPLED_IN_STEPS)}"
        )


def check_upscale(cfg: ModelConfig) -> None:
    """ConfigError for a factor that enlarges nothing, of another objective, or that sides are no multiple of."""
    if cfg.upscale == 1:
        raise ConfigError("upscale 1 enlarges nothing; give 2, 3 or 4, or leave it out")
    if cfg.upscale and cfg.objective != "generate":
        raise ConfigError(
            f"model.upscale {cfg.upscale} is for the objective generate, and it is {cfg.objective}; leave it out, or "
            f"give model.head {' or '.join(DISTRIBUTIONS)}"
        )
    for name, side in zip(("height", "width"), cfg.img_size, strict=True):
        if cfg.upscale and side % cfg.upscale:
            unit = math.lcm(cfg.patch_size, cfg.upscale)
            nearest = max(1, round(side / unit)) * unit
            raise ConfigError(f"image {name} {side} is not a multiple of upscale {cfg.upscale}; use {nearest}")


def settle_attention(cfg: ModelConfig) -> Attention:
    """Attention follows from the objective masked, which has no order either; ConfigError for what contradicts."""
    if cfg.objective == "masked":
        if cfg.attention == "causal":
            raise ConfigError(
                "the objective masked is bidirectional, and attention is causal; leave attention out, or choose the "
                "objective next_patch"
            )
        if cfg.order != "raster":
            raise ConfigError(
                f"order {cfg.order} changes nothing in the objective masked, which sees all places at once; leave it "
                "out"
            )
        return "bidirectional"
    if cfg.objective in ("next_patch", "generate"):
        if cfg.mask_ratio != 0.5:
            raise ConfigError(
                f"mask_ratio {cfg.mask_ratio:g} changes nothing in the objective {cfg.objective}; leave it out, or "
                "choose the objective masked"
            )
        if cfg.attention == "bidirectional":
            raise ConfigError(
                f"with attention bidirectional the objective {cfg.objective} would see the patches that it predicts; "
                "choose prefix or causal, or the objective masked"
            )
    return cfg.attention


def check_order(cfg: ModelConfig) -> None:
    """ConfigError for a seed of an order that has none, and for an order that attention makes another one."""
    if cfg.order == "known_first" and cfg.attention == "causal":
        raise ConfigError(
            "with attention causal no patch is known, so that the order known_first is raster; choose raster or any, "
            "or leave attention out"
        )
    if cfg.order_seed and cfg.order in SEEDLESS_ORDERS:
        raise ConfigError(
            f"order_seed {cfg.order_seed} changes nothing in the order {cfg.order}; leave it out, or choose the order "
            "random"
        )


def check_tokenizer(cfg: ModelConfig) -> None:
    """ConfigError for a tokenizer without the target tokens, and for codes that leave nothing to predict."""
    if cfg.target == "tokens":
        if cfg.codes == 1:
            raise ConfigError("model.codes 1 leaves nothing to predict; a tokenizer has two codes or more")
    elif given := [name for name in ("tokenizer", "codes", "tokenizer_sha256") if getattr(cfg, name)]:
        raise ConfigError(
            f"model.{given[0]} is for model.target tokens, and the target is {cfg.target}; give --model.target tokens "
            f"too, or leave {given[0]} out"
        )
